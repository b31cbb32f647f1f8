"""CONTRIBUTING.md's tables name the rooms and the places that are there."""

import re
import subprocess

from support.goldens import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NOT_ROOMS = ("configs/", "docs/", "dataset/", "scripts/", "tests/", "reports/pages/")  # their folders need no sign


def section(title):
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_the_map_names_every_room():
    named = set(re.findall(r"^\| `([\w/]+)` \|", section("The rooms"), re.M))
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {path.rpartition("/")[0] for path in listed if "/" in path and not path.startswith(".")}
    rooms = {folder for folder in folders if not folder.startswith(NOT_ROOMS)}
    assert named == rooms


def test_places_that_are_named_exist():
    paths = re.findall(r"`((?:engine|models|datareader|storage|utils|metrics)/[\w/]+\.py)`", section("Where is ..."))
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).is_file()] == []
