"""Folders that are laid out as MindSpore's StNet wants them become lists."""

import json
from pathlib import Path

import pytest

from dataset import layout
from utils.errors import DataError


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def lines(found, key):
    return Path(found[key]).read_text(encoding="utf-8").splitlines()


def test_pickles_need_no_labels(tmp_path):
    make(tmp_path, "train/b.pkl", "train/a.pkl", "val_pkl/c.pkl", "val_mp4/run/c.mp4")
    found = layout.overrides(tmp_path, tmp_path / "out", ("train", "val"))
    assert lines(found, "TRAIN.filelist") == [str(tmp_path / "train" / name) for name in ("a.pkl", "b.pkl")]
    assert found["VALID.filelist"] == found["TEST.filelist"] == found["INFER.filelist"]
    assert lines(found, "TEST.filelist") == [str(tmp_path / "val_pkl" / "c.pkl")] and "MODEL.num_classes" not in found


def test_class_folders_of_either_split_are_the_labels(tmp_path):
    make(tmp_path, "train_mp4/wave hands/1.mp4", "train_mp4/jump/2.mp4", "val_mp4/run/3.mp4")
    found = layout.overrides(tmp_path, tmp_path / "out", ("train", "val"))
    assert lines(found, "TRAIN.filelist") == [
        f"{tmp_path / 'train_mp4' / 'jump' / '2.mp4'} 0",
        f"{tmp_path / 'train_mp4' / 'wave hands' / '1.mp4'} 2",
    ]
    assert lines(found, "VALID.filelist") == [f"{tmp_path / 'val_mp4' / 'run' / '3.mp4'} 1"]
    assert found["MODEL.num_classes"] == 3 and lines(found, "MODEL.class_names") == ["0 jump", "1 run", "2 wave hands"]


def test_classes_of_kinetics_keep_their_numbers(tmp_path):
    make(tmp_path, "val_mp4/abseiling/1.mp4", "val_mp4/zumba/2.mp4", "val_mp4/air_drumming/3.mp4")
    found = layout.overrides(tmp_path, tmp_path / "out", ("val",))
    assert [line.rsplit(" ", 1)[1] for line in lines(found, "TEST.filelist")] == ["0", "1", "399"]
    assert set(found) == {"VALID.filelist", "TEST.filelist", "INFER.filelist"}


def test_the_json_list_says_which(tmp_path):
    make(tmp_path, "val/a_000001.pkl", "val/b_000001.pkl", "val/c_000001.pkl")
    entries = [{"video_name": "x/c_000001.mp4"}, {"video_name": "gone.mp4"}, {"video_name": "a_000001.mp4"}]
    (tmp_path / "val.json").write_text(json.dumps(entries), encoding="utf-8")
    found = layout.overrides(tmp_path, tmp_path / "out", ("val",))
    assert [Path(line).stem for line in lines(found, "TEST.filelist")] == ["c_000001", "a_000001"]


@pytest.mark.parametrize(
    "names, content, message",
    [
        (["val/a.txt"], None, "no pickles and no clips in val_pkl/val/val_mp4"),
        (["val/a.mp4"], None, "is in no class folder"),
        (["val/a.pkl"], '[{"name": "a"}]', "cannot be read .KeyError"),
        (["val/a.pkl"], '[{"video_name": "b.mp4"}]', "names 1 videos, and none of them is in"),
    ],
    ids=["nothing", "no class", "no name", "none there"],
)
def test_mistakes_are_named(tmp_path, names, content, message):
    make(tmp_path, *names)
    if content:
        (tmp_path / "val.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        layout.overrides(tmp_path, tmp_path / "out", ("val",))
    with pytest.raises(DataError, match="is not a folder"):
        layout.overrides(tmp_path / "none", tmp_path / "out", ("val",))
