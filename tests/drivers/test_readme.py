"""Runs the README's commands as they stand, in a folder like a checkout, with small settings added to each command."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from engine.graph.program import Graph
from models import find
from support import drivers, tiny
from support.forms import values, write
from support.goldens import ROOT

# The first two are run by hand and by CI; features in tests/engine/test_clip_features.py with another extractor; a
# service, which does not end, in tests/serving.
NOT_HERE = ("scripts/quickstart.sh", "scripts/run_tests.sh", "pip install", "AttentionCluster", "serve.py")
EXTRA = tiny.flags(
    {
        **tiny.TINY,
        "TRAIN.filelist": "val.list",
        "VALID.filelist": "val.list",
        "TEST.filelist": "val.list",
        "TRAIN.seed": 1,
    }
)


NO_PAGE = ("--no_report",)  # drawing takes as long as all the rest; test.py still writes its page


def commands(path):
    """Lines of the ```bash blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.S)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Links to everything of the project, two lists, and a `python` that adds the small settings."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name != "checkpoints":
            (folder / path.name).symlink_to(path)
    tiny.make_clips(folder / "clips", count=4, name="clip{i}.mp4")
    for label in (0, 1):
        (folder / "my_clips" / f"class {label}").mkdir(parents=True)
        for i in range(4):
            (folder / "my_clips" / f"class {label}" / f"{i}.mp4").symlink_to(folder / "clips" / f"clip{label}.mp4")
    shapes = Graph(find("TSN")(find("TSN").config_class(), "infer")).shapes
    (folder / ".paddle" / "weights").mkdir(parents=True)  # the released backbone, as if fetched before
    write(folder, "directory", values(shapes)).rename(folder / ".paddle" / "weights" / "ResNet50_pretrained")
    (folder / "new_clips").symlink_to(folder / "clips")
    (folder / "folder").symlink_to(folder / "clips")
    (folder / "clip.mp4").symlink_to(folder / "clips" / "clip0.mp4")
    (folder / "infer.list").write_text("clips/clip0.mp4\nclips/clip1.mp4\n")
    lines = [f"clips/clip{i}.mp4 {i % 2}" for i in range(4)]
    (folder / "val.list").write_text("\n".join(lines) + "\n")
    (folder / "bin").mkdir()
    wrapper = folder / "bin" / "python"
    wrapper.write_text(f"""#!/bin/bash
if [[ $1 == -m ]]; then
    set -- "$@" {shlex.join(EXTRA)}
else
    set -- "$1" {shlex.join(EXTRA)} "${{@:2}}"          # so that the typed words win
fi
exec {sys.executable} "$@"
""")
    wrapper.chmod(0o755)
    return folder


def test_every_command_of_the_readme(checkout, capsys, monkeypatch):
    """`python` lines in this process, `bash` lines as typed."""
    monkeypatch.chdir(checkout)
    monkeypatch.setenv("HOME", str(checkout))
    monkeypatch.setenv("PATH", f"{checkout / 'bin'}:{os.environ['PATH']}")
    lines = [line for line in commands(ROOT / "README.md") if not any(part in line for part in NOT_HERE)]
    assert len(lines) > 10
    for line in lines:
        if line.startswith("python ") and not line.startswith("python -m "):
            program, *words = shlex.split(line)[1:]
            small = [] if "/" in program or "--exported" in line else EXTRA
            small = [*small, *NO_PAGE] if program in ("train.py", "infer.py") and "--report" not in line else small
            code, output = drivers.status(capsys, program, *small, *words)
        else:
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300, check=False)
            code, output = done.returncode, done.stdout + done.stderr
        assert code == 0, f"$ {line}\n{output}"


def test_both_readmes_have_the_same_sections_and_commands():
    english, chinese = ROOT / "README.md", ROOT / "README_zh.md"
    assert commands(english) == commands(chinese)
    headings = [re.findall(r"^(#+) ", path.read_text(encoding="utf-8"), re.M) for path in (english, chinese)]
    assert headings[0] == headings[1]


def test_links_of_the_documents_exist():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("dataset/**/*.md")]:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
