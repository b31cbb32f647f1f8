import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datareader.features.examples import parse_sequence_example, sequence_example
from datareader.features.tfrecord import records, write
from dataset.youtube8m import make_list, synthetic, tf2pkl
from metrics.youtube8m import YouTube8M
from utils.errors import DataError
from utils.pickles import safe as unpickle

TOOLS = Path(tf2pkl.__file__).parent


def old_pickle(path):
    """As the old zoo's reader opened it under Python 3."""
    with open(path, "rb") as file:
        return pickle.load(file, encoding="bytes")


@pytest.fixture
def shards(tmp_path):
    """Folder of two TFRecord shards, `b` with a long video of out-of-vocabulary and repeated labels."""
    folder = tmp_path / "tf"
    folder.mkdir()
    write(folder / "a.tfrecord", [sequence_example(**example) for example in synthetic.videos("train", 3)])
    long = {
        "id": "long",
        "labels": [3861, 4, 3862, 4],
        "rgb": np.full((310, 1024), 200, np.uint8),
        "audio": np.zeros((310, 128), np.uint8),
    }
    write(folder / "b.tfrecord", [sequence_example(**long)])
    return folder


def test_pickles_are_the_old_zoos(shards, tmp_path):
    assert tf2pkl.main([str(shards), str(tmp_path / "pkl"), "--workers=2"]) == 0
    first, (long,) = old_pickle(tmp_path / "pkl/a.pkl"), old_pickle(tmp_path / "pkl/b.pkl")
    for record, example in zip(first, synthetic.videos("train", 3), strict=True):
        assert list(record) == [b"video", b"feature", b"audio", b"label", b"nframes"]
        assert (record[b"video"], record[b"label"], record[b"nframes"]) == (
            example["id"].encode(),
            example["labels"],
            len(example["rgb"]),
        )
        assert record[b"feature"].dtype == np.uint8 and (record[b"feature"] == example["rgb"]).all()
        assert (record[b"audio"] == example["audio"]).all()
    assert (long[b"label"], long[b"nframes"], long[b"feature"].shape) == ([4, 3861], 300, (310, 1024))


def test_pickles_pass_the_restricted_unpickler_and_are_protocol_2(shards, tmp_path):
    tf2pkl.convert(shards / "a.tfrecord", tmp_path / "a.pkl")
    found = unpickle.load(tmp_path / "a.pkl", encoding="bytes")
    assert [record[b"video"] for record in found] == [b"train_00000", b"train_00001", b"train_00002"]
    content = (tmp_path / "a.pkl").read_bytes()
    assert content[:2] == b"\x80\x02" and b"numpy.core.multiarray" in content  # numpy 1 knows no numpy._core
    assert len(content) < 1.05 * (shards / "a.tfrecord").stat().st_size


def test_finished_pickles_are_kept_unless_told(shards, tmp_path):
    out = tmp_path / "pkl"
    out.mkdir()
    (out / "a.pkl").write_bytes(b"kept")
    assert tf2pkl.main([str(shards), str(out)]) == 0
    assert (out / "a.pkl").read_bytes() == b"kept" and len(old_pickle(out / "b.pkl")) == 1
    assert tf2pkl.main([str(shards), str(out), "--overwrite"]) == 0
    assert len(old_pickle(out / "a.pkl")) == 3


def test_a_damaged_shard_leaves_no_pickle_and_stops_no_other(shards, tmp_path):
    out, content = tmp_path / "pkl", (shards / "a.tfrecord").read_bytes()
    (shards / "a.tfrecord").write_bytes(content[:-3])
    videos, (failure,) = tf2pkl.convert_all(tf2pkl.plan(shards, out)[0], workers=1)
    assert videos == 1 and [path.name for path in out.iterdir()] == ["b.pkl"]
    assert "a.tfrecord', record at byte" in failure
    assert tf2pkl.main([str(shards), str(out)]) == 1


def test_folders_that_cannot_be_converted_are_named(shards, tmp_path):
    with pytest.raises(DataError, match=r"'.*none' holds no \*.tfrecord file"):
        tf2pkl.plan(tmp_path / "none", tmp_path)
    write(shards / "a.b.tfrecord", [])
    with pytest.raises(DataError, match="names agree up to the first dot"):
        tf2pkl.plan(shards, tmp_path)


def test_lists_hold_absolute_paths_in_order(shards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert make_list.make_list("tf", "train.list") == 2
    assert (tmp_path / "train.list").read_text().split() == [str(shards / "a.tfrecord"), str(shards / "b.tfrecord")]


def test_lists_of_nothing_or_of_both_kinds_are_refused(shards, tmp_path):
    with pytest.raises(DataError, match="holds no"):
        make_list.make_list(tmp_path / "none", tmp_path / "x.list")
    (shards / "a.pkl").touch()
    with pytest.raises(DataError, match="holds both"):
        make_list.make_list(shards, tmp_path / "x.list")


def test_both_formats_hold_the_same_videos(tmp_path):
    for form in ("pkl", "tfrecord"):
        lists = synthetic.make(tmp_path / form, form, train=5, val=2, shard=3)
        assert [path.read_text().split() for path in lists] == [
            [f"train/train0000.{form}", f"train/train0001.{form}"],
            [f"val/val0000.{form}"],
        ]
    tf2pkl.main([str(tmp_path / "tfrecord/train"), str(tmp_path / "converted")])
    for name in ("train0000.pkl", "train0001.pkl"):
        assert (tmp_path / "converted" / name).read_bytes() == (tmp_path / "pkl/train" / name).read_bytes()
    found = [parse_sequence_example(record)["id"] for record in records(tmp_path / "tfrecord/val/val0000.tfrecord")]
    assert found == ["val_00000", "val_00001"]


def test_synthetic_videos_repeat_by_seed_and_differ_between_parts():
    def features(*args, **kwargs):
        return [example["rgb"].tobytes() for example in synthetic.videos(*args, **kwargs)]

    assert features("train", 4) == features("train", 6)[:4]
    assert not set(features("train", 4)) & {*features("val", 4), *features("train", 4, seed=1)}


def test_synthetic_classes_can_be_learnt():
    """A linear fit on mean features scores videos that it has not seen."""

    def arrays(part, count):
        examples = list(synthetic.videos(part, count, classes=8))
        labels = np.zeros((count, 8))
        for row, example in zip(labels, examples, strict=True):
            row[example["labels"]] = 1
        return np.stack([np.append(example["rgb"].mean(axis=0) / 255, 1) for example in examples]), labels

    (x, y), (unseen, truth) = arrays("train", 128), arrays("val", 32)
    metric = YouTube8M(8)
    metric.update(unseen @ np.linalg.lstsq(x, y, rcond=0.01)[0], truth, 0.0)
    assert metric.result()["gap"] > 0.9
    metric.reset()
    metric.update(np.random.default_rng(0).random((32, 8)), truth, 0.0)
    assert metric.result()["gap"] < 0.5


@pytest.mark.parametrize(
    "tool, arguments",
    [
        ("synthetic.py", ["out", "--format=tfrecord", "--train=2", "--val=1"]),
        ("tf2pkl.py", ["tf", "out", "--workers=1"]),
        ("make_list.py", ["tf", "out/train.list"]),
    ],
)
def test_the_tools_run_as_scripts_from_any_folder(shards, tool, arguments):
    done = subprocess.run(
        [sys.executable, str(TOOLS / tool), *arguments], cwd=shards.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert any((shards.parent / "out").iterdir())


def test_an_error_is_one_line_with_status_2(tmp_path):
    done = subprocess.run(
        [sys.executable, str(TOOLS / "make_list.py"), str(tmp_path), "x.list"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"error: DataError: '{tmp_path}' holds no *.pkl and no *.tfrecord shard"]
