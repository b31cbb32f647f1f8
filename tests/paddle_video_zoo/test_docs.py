"""The examples of docs/python.md run as they stand, in order, with a small network in place of TSN."""

import re

import pytest
import yaml

from support import tiny
from support.goldens import ROOT


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder with what the page speaks of."""
    monkeypatch.chdir(tmp_path)
    tiny.make_clips(tmp_path / "my_clips", count=4, name="clip{i}.mp4")
    (tmp_path / "my_clips" / "val.list").write_text("clip0.mp4 0\nclip1.mp4 1\n")
    (tmp_path / "new_clips").mkdir()
    (tmp_path / "new_clips" / "broken.mp4").write_bytes(b"no clip")
    (tmp_path / "new_clips" / "good.mp4").symlink_to(tmp_path / "my_clips" / "clip0.mp4")
    (tmp_path / "clip.mp4").symlink_to(tmp_path / "my_clips" / "clip1.mp4")
    config = {"MODEL": {"name": "TINYNET"}}
    lists = {"TRAIN.filelist": "my_clips/clips.list", "VALID.filelist": "my_clips/val.list"}
    for key, value in {**tiny.TINY, **lists, "MODEL.seg_num": 3}.items():
        section, _, name = key.partition(".")
        config.setdefault(section, {})[name] = value
    (tmp_path / "my_clips" / "clips.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_every_example(work, capsys):
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.S)
    assert len(examples) == 5
    printed = []
    for example in examples:
        exec(compile(example.replace("TSN", "TINYNET"), "docs/python.md", "exec"), {"__name__": "__main__"})
        printed.append(capsys.readouterr().out)
    assert printed[0].count("loss") == 2 and "checkpoints/TINYNET_best" in printed[0]
    assert "0 clips unreadable, report in results" in printed[1]
    assert "broken.mp4" in printed[2] and printed[2].count("class ") == 4
    assert printed[3].count("class ") == 2
    assert "exported/tsn answers as the trained model" in printed[4] and printed[4].count("'label'") == 2
