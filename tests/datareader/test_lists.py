"""File lists: blanks, spaces in paths, labels, where relative paths start, and one clear error for each mistake."""

import os
import tempfile
from pathlib import Path

import pytest

from datareader import lists
from datareader.names import read_names
from utils.errors import DataError


def write(folder, text, name="train.list"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_blank_lines_and_spaces_in_paths(tmp_path):
    path = write(tmp_path, "\na dir/clip (1).mp4 3\n\n  b.avi\t0  \nç ü.mp4 11\n")
    items = lists.read_clip_list(path, "TRAIN.filelist", 12)
    assert [(item.name, item.label) for item in items] == [("a dir/clip (1).mp4", 3), ("b.avi", 0), ("ç ü.mp4", 11)]
    assert items[0].path == tmp_path / "a dir" / "clip (1).mp4"


def test_pickles_need_no_label_and_may_be_mixed_with_clips(tmp_path):
    items = lists.read_clip_list(write(tmp_path, "dir/a b.pkl\nclip.mp4 1\n"), "TRAIN.filelist", 2)
    assert [(item.name, item.label) for item in items] == [("dir/a b.pkl", None), ("clip.mp4", 1)]


def test_inference_lists_may_leave_labels_out(tmp_path):
    items = lists.read_clip_list(write(tmp_path, "a b.mp4\nc.mp4 7\n"), "INFER.filelist", 2, labelled=False)
    assert [item.name for item in items] == ["a b.mp4", "c.mp4"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("clip.mp4\n", "line 1: 'clip.mp4' has no label"),
        ("a.mp4 0\nb.mp4 2\n", "line 2: label '2' is not in 0..1"),
        ("\n\na.mp4 0\n\nb.mp4 2\n", "line 5: label '2' is not in 0..1"),
        ("a.mp4 -1\n", "label '-1' is not in 0..1"),
        ("\n \n", "is empty"),
        ("a.mp4 ²\n", "has no label"),
        ("a.mp4 +-1\n", "has no label"),
        ("a\0b.mp4 1\n", "is no list of paths"),
        ("a" * 5000 + ".mp4 1\n", "is no list of paths"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        lists.read_clip_list(write(tmp_path, text), "TRAIN.filelist", 2)


def test_byte_order_marks_line_separators_and_long_names(tmp_path):
    path = write(tmp_path, "\ufeffa.mp4 0\r\nb\u2028c.mp4 1\n" + "d" * 900 + ".mp4 1\n")
    assert [item.name for item in lists.read_clip_list(path, "key", 2)] == ["a.mp4", "b\u2028c.mp4", "d" * 900 + ".mp4"]


def test_missing_list_names_the_key(tmp_path):
    """Quirk 12: the old zoo hung."""
    with pytest.raises(DataError, match=r"nowhere.list' does not exist \(asked for by VALID.filelist\)"):
        lists.read_clip_list(tmp_path / "nowhere.list", "VALID.filelist", 2)


def test_relative_paths(tmp_path, monkeypatch):
    (tmp_path / "lists").mkdir()
    (tmp_path / "clip.mp4").touch()
    path = write(tmp_path / "lists", "clip.mp4 0\n")
    monkeypatch.chdir(tmp_path)
    assert lists.read_clip_list(path, "key", 1)[0].path.exists()  # the working folder holds it
    (tmp_path / "lists" / "clip.mp4").touch()
    assert lists.read_clip_list(path, "key", 1)[0].path == tmp_path / "lists" / "clip.mp4"
    assert lists.read_clip_list(path, "key", 1, data_root=tmp_path)[0].path == tmp_path / "clip.mp4"
    with pytest.raises(DataError, match="data_root '.*absent' is not a folder"):
        lists.read_clip_list(path, "key", 1, data_root=tmp_path / "absent")


def test_folders_are_searched(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.mp4", "sub/a.MKV", "notes.txt"):
        (tmp_path / name).touch()
    assert [item.path.name for item in lists.find_clips([tmp_path])] == ["b.mp4", "a.MKV"]
    with pytest.raises(DataError, match="'absent.mp4' does not exist"):
        lists.find_clips(["absent.mp4"])


@pytest.mark.parametrize(
    "text", ["riding a bike\nskiing\n", "1 skiing\n0 riding a bike\n", "riding a bike 0\nskiing 1\n"]
)
def test_class_names_in_all_three_forms(tmp_path, text):
    assert read_names(write(tmp_path, text)) == ["riding a bike", "skiing"]


def test_class_names_from_the_vocabulary_of_youtube8m(tmp_path):
    """Descriptions hold commas and line ends; a few classes have no name."""
    text = 'Index,TrainVideoCount,KnowledgeGraphId,Name,WikiDescription\n1,9,/m/b,,"a, b\nc"\n0,10,/m/a,Game,x\n'
    assert read_names(write(tmp_path, text, "vocabulary.csv")) == ["Game", "/m/b"]
    with pytest.raises(DataError, match="expected the columns Index, KnowledgeGraphId and Name"):
        read_names(write(tmp_path, "a,b\n1,2\n", "other.csv"))
    with pytest.raises(DataError, match="do not have the indices 0 to 1, once each"):
        read_names(write(tmp_path, "Index,KnowledgeGraphId,Name\n0,/m/a,a\n2,/m/c,c\n", "holes.csv"))
    with pytest.raises(DataError, match="absent.csv' cannot be read: No such file"):
        read_names(tmp_path / "absent.csv")


def test_lists_of_shards_are_whole_lines(tmp_path):
    path = write(tmp_path, "\na b/train00.tfrecord\n\nold 3\n")
    assert [(item.name, item.path) for item in lists.read_shard_list(path, "TRAIN.filelist")] == [
        ("a b/train00.tfrecord", tmp_path / "a b" / "train00.tfrecord"),
        ("old 3", tmp_path / "old 3"),
    ]


@pytest.mark.parametrize("ending", [".asf", ".ogg", ".mxf", ".gif", ".m2ts", ".vob", ".MXF"])
def test_every_decodable_container_is_a_clip_whatever_the_format_says(tmp_path, ending):
    """Regression: under `format: pkl` these were opened as pickles."""
    assert not lists.is_pickle(f"clip{ending}", "pkl")
    (tmp_path / f"clip{ending}").touch()
    assert [item.name for item in lists.find_clips([tmp_path])] == [str(tmp_path / f"clip{ending}")]


def test_digits_of_other_scripts_are_part_of_a_name(tmp_path):
    """Regression: `zone ²` gave a traceback, for `²` is a digit but no number."""
    assert read_names(write(tmp_path, "zone ²\nzone ³\n")) == ["zone ²", "zone ³"]
    assert read_names(write(tmp_path, f"zone {'9' * 5000}"[:4000] + "\nother 1\n"))[1] == "other 1"


def message_for_another_user(folder):
    """What `find_clips` says in a process that is not root's, whom no permission stops."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            lists.find_clips([folder])
        except DataError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, encoding="utf-8") as answer:
        return answer.read()


def test_a_folder_that_may_not_be_read_is_not_an_empty_one():
    """Regression: it was said to hold no clip."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        closed = Path(folder, "closed")
        closed.mkdir(mode=0o000)
        Path(folder, "a.mp4").touch()
        assert f"the folder '{closed}' cannot be read (Permission denied)" in message_for_another_user(folder)
