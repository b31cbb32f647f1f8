"""Files are replaced as a whole or not at all, under temporary names that no other process can use."""

import os
import signal
import subprocess
import sys

import pytest

from storage.files import replacing
from storage.partial import sweep
from support.goldens import ROOT
from support.s3 import s3  # noqa: F401  (fixture)


def test_the_name_stands_for_the_old_or_the_new_content(tmp_path):
    target = tmp_path / "folder" / "result.csv"
    for text in ("one", "two"):
        with replacing(target, durable=True) as beside:
            beside.write_text(text)
            assert beside.suffix == ".csv" and (not target.exists() or target.read_text() == "one")
        assert target.read_text() == text
    assert os.listdir(target.parent) == ["result.csv"]


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path):
    (tmp_path / "result").write_text("one")
    with pytest.raises(ValueError, match="no"), replacing(tmp_path / "result") as beside:
        beside.write_text("two")
        raise ValueError("no")
    assert os.listdir(tmp_path) == ["result"] and (tmp_path / "result").read_text() == "one"


def test_nothing_planted_is_followed(tmp_path):
    """Whatever waits under the names that were used before: the new file is written in a folder of our own."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("result.new", f".result.{os.getpid()}.new", ".result.new"):
        (tmp_path / name).symlink_to(victim)
    with replacing(tmp_path / "result") as beside:
        assert os.stat(beside.parent).st_mode & 0o077 == 0
        beside.write_text("new")
    assert victim.read_text() == "precious" and (tmp_path / "result").read_text() == "new"


def test_two_writers_of_one_name_do_not_meet(tmp_path):
    with replacing(tmp_path / "result") as one, replacing(tmp_path / "result") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "result").read_text() == "one" and os.listdir(tmp_path) == ["result"]


KILLED = """
import os, signal, sys
from storage.files import replacing
with replacing(sys.argv[1]) as beside:
    beside.write_text("half")
    if sys.argv[2] == "wait":
        print("ready", flush=True)
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    """It stayed for good."""
    words = [sys.executable, "-c", KILLED, tmp_path / "result"]
    assert subprocess.run([*words, "now"], cwd=ROOT).returncode == -signal.SIGKILL
    (dead,) = tmp_path.iterdir()
    with subprocess.Popen([*words, "wait"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as living:
        living.stdout.readline()
        (own,) = set(tmp_path.iterdir()) - {dead}
        (tmp_path / ".result.settings").mkdir()
        sweep(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([own, tmp_path / ".result.settings"])
    (tmp_path / ".result.settings").rmdir()
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_address_gets_the_whole_file(s3):  # noqa: F811
    with replacing(s3.url("run/result.csv")) as beside:
        beside.write_text("new")
    assert s3.read("run/result.csv") == b"new"
