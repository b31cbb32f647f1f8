"""Lists looked at before training: what is wrong with each file, what two lists share, which classes are thin."""

import csv
import pickle
import shutil

import cv2
import pytest

from datareader import check
from support import drivers, tiny
from support.clips import damage, write_clip
from utils.errors import DataError


def run(capsys, *words):
    return drivers.status(capsys, "dataset/check.py", *words)


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return {(row["filelist"].rpartition("/")[2], row["sample"]): row for row in csv.DictReader(file)}


def verdict(output):
    """The paragraph."""
    return next(line for line in output.splitlines() if " clips (" in line)


@pytest.fixture
def folder(tmp_path):
    """train.list and val.list of two classes, four and two clips, names with blanks."""
    tiny.make_clips(tmp_path / "data", count=6).unlink()
    lines = [f"clip {i} (é).mp4 {i % 2}" for i in range(6)]
    write(tmp_path / "data" / "train.list", lines[:4])
    write(tmp_path / "data" / "val.list", lines[4:])
    return tmp_path / "data"


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def append(path, *lines):
    write(path, [*path.read_text(encoding="utf-8").splitlines(), *lines])


def test_good_lists(folder, capsys):
    table = folder / "table.csv"
    code, output = run(capsys, folder / "train.list", folder / "val.list", "--csv", table, "--frames=12")
    assert code == 0 and "Nothing is wrong." in verdict(output) and verdict(output).startswith("6 clips (4 in ")
    assert "      2       1  class 1" in output and "fewer than" not in output
    found = rows(table)[("train.list", "clip 1 (é).mp4")]
    expected = {
        "label": "1",
        "frames": "12",
        "width": "64",
        "height": "48",
        "fps": "15.0",
        "codec": "h264",
        "duration": "0.8",
        "bytes": str((folder / "clip 1 (é).mp4").stat().st_size),
        "problem": "",
        "content": "",
    }
    assert {key: found[key] for key in expected} == expected and len(rows(table)) == 6


def test_files_that_cannot_be_read_are_counted_and_named(folder, capsys):
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.pkl").write_bytes(b"not a pickle")
    damage(write_clip(folder / "damaged.mp4", frames=24, options={"g": "6", "bf": "0"}), 6, 24)
    append(folder / "train.list", "empty.mp4 0", "text.pkl", "missing.mp4 1", "damaged.mp4 1")
    table = folder / "table.csv"
    code, output = run(capsys, folder / "train.list", "--csv", table)
    assert code == 1 and "3 of 8 cannot be read." in verdict(output) and "1 is damaged" in verdict(output)
    problems = {name: row["problem"] for (_, name), row in rows(table).items() if row["problem"]}
    assert "0 bytes" in problems["empty.mp4"] and "not a readable pickle" in problems["text.pkl"]
    assert "does not exist" in problems["missing.mp4"] and "of its 24 frames decode" in problems["damaged.mp4"]
    assert f"{folder / 'train.list'}: 'missing.mp4': does not exist" in output and len(problems) == 4


def test_damage_that_is_not_at_the_start_is_found(folder, capsys):
    jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in tiny.images(1, seed=0)]
    (folder / "p.pkl").write_bytes(pickle.dumps(("./p", 1, [*jpegs[:-1], b"x" * 99])))
    append(folder / "train.list", "p.pkl")
    code, output = run(capsys, folder / "train.list")
    assert code == 1 and "'p.pkl': frame 11 is not a readable image" in output


def test_pickles_bring_their_labels(folder, capsys):
    for i in range(3):
        tiny.make_pickle(folder / f"p {i}.pkl", label=i, seed=i)
    write(folder / "train.list", [f"p {i}.pkl" for i in range(3)])
    code, output = run(capsys, folder / "train.list", "--csv", folder / "t.csv")
    assert code == 0 and "of 3 classes" in verdict(output)
    found = [(row["label"], row["codec"], row["width"]) for row in rows(folder / "t.csv").values()]
    assert found == [(str(i), "jpeg", "64") for i in range(3)]
    assert "label '2' is not in 0..1" in run(capsys, folder / "train.list", "--num_classes=2")[1]


def test_labels_and_classes(folder, capsys):
    append(folder / "train.list", "clip 4 (é).mp4", "clip 5 (é).mp4 -1", "clip 5 (é).mp4 4")
    write(folder / "names.txt", ["rise", "fall", "grow", "shrink"])
    code, output = run(capsys, folder / "train.list", folder / "val.list", "--class-names", folder / "names.txt")
    assert code == 1 and output.count("label '4' is not in 0..3") == output.count("label '-1' is not in 0..3") == 1
    assert "'clip 4 (é).mp4': no label" in output and "3 are damaged or without a valid label." in verdict(output)
    assert "train.list has no usable clip of 2 classes: 'grow', 'shrink'." in verdict(output)
    assert "label '-1' is not in 0.." in run(capsys, folder / "train.list")[1]


def test_rare_classes_are_mentioned(folder, capsys):
    write(folder / "train.list", [f"clip 0 (é).mp4 {label}" for label in [0] * 20 + [1] * 20 + [2] * 2])
    code, output = run(capsys, folder / "train.list")
    assert "where a class has 14 on average: 1 class: 'class 2' (2)." in verdict(output)


def test_what_two_lists_share_by_path_and_by_content(folder, capsys):
    shutil.copy(folder / "clip 0 (é).mp4", folder / "copy.mp4")
    (folder / "link.mp4").symlink_to("clip 1 (é).mp4")
    append(folder / "val.list", "copy.mp4 0", "link.mp4 1", "../data/clip 3 (é).mp4 1")
    code, output = run(capsys, folder / "train.list", folder / "val.list", "--csv", folder / "t.csv")
    assert code == 1 and f"3 clips of {folder / 'val.list'} are in {folder / 'train.list'} too." in verdict(output)
    table = rows(folder / "t.csv")
    assert table[("train.list", "clip 0 (é).mp4")]["content"] == table[("val.list", "copy.mp4")]["content"] != ""
    assert table[("train.list", "clip 2 (é).mp4")]["content"] == ""


def test_repeats_are_mentioned_and_contradictions_are_wrong(folder, capsys):
    append(folder / "train.list", "clip 0 (é).mp4 0")
    code, output = run(capsys, folder / "train.list")
    assert code == 0 and "1 clip stands in " in verdict(output)
    append(folder / "train.list", "./clip 0 (é).mp4 1")
    code, output = run(capsys, folder / "train.list")
    assert code == 1 and "Under different labels: 1 clip: " in verdict(output)


def test_short_clips_and_data_root(folder, tmp_path, capsys):
    write_clip(folder / "short.mp4", frames=3)
    write(tmp_path / "elsewhere.list", ["short.mp4 0", "clip 1 (é).mp4 1"])
    code, output = run(capsys, tmp_path / "elsewhere.list", "--data-root", folder, "--frames=4")
    assert code == 0 and "1 clip has fewer than 4 frames" in verdict(output)


def test_lists_that_cannot_be_read(folder, capsys):
    code, output = run(capsys, folder / "nowhere.list")
    assert code == 2 and "nowhere.list' does not exist" in output
    with pytest.raises(DataError, match="does not exist .asked for by VALID.filelist"):
        check.read_samples("valid", folder / "nowhere.list", key="VALID.filelist")


def test_train_check_data(folder, tmp_path, capsys):
    """The lists, classes and segments of the configuration, in the manner of training: nothing is built or trained."""
    words = [
        "train.py",
        "--model_name=TSN",
        "--check-data",
        "--pretrain=none",
        f"--save_dir={tmp_path / 'out'}",
        *tiny.flags(
            {
                **tiny.TINY,
                "MODEL.seg_num": 13,
                "TRAIN.filelist": folder / "train.list",
                "VALID.filelist": folder / "val.list",
            }
        ),
    ]
    code, output = drivers.status(capsys, *words)
    assert (
        code == 0
        and "6 clips (4 in train, 2 in valid) of 2 classes" in output
        and "6 clips have fewer than 13 frames" in output
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["check_data.csv"]
    code, output = drivers.status(
        capsys, *words, "-o", "MODEL.num_classes=3", "-o", f"VALID.filelist={folder / 'train.list'}"
    )
    assert (
        code == 1
        and "train has no usable clip of 1 class: 'class 2'" in output
        and "4 clips of valid are in train too" in output
    )
    code, output = drivers.status(capsys, *words, "--valid_interval=0", "-o", "VALID.filelist=nowhere.list")
    assert code == 0 and "4 clips (4 in train)" in output


def test_features_are_not_clips(capsys):
    code, output = drivers.status(
        capsys, "train.py", "--model_name=NEXTVLAD", "--check_data", "-o", "MODEL.eigen_file=none"
    )
    assert code == 2 and "'NEXTVLAD' reads features" in output
