"""Samples of both forms: shapes, ids, repeatability, and one sentence for each way a file can be wrong."""

import pickle
import re

import numpy as np
import pytest

from datareader import loader_for
from datareader.clips.dataset import ClipDataset
from datareader.clips.pickles import read_pickle
from datareader.lists import Item
from support import bombs, tiny
from utils.config.clips import ClipConfig
from utils.errors import VideoError

KEYS = {"num_classes": 2, "seg_num": 3, "seglen": 2}
SIZES = {"short_size": 36, "target_size": 32}


def dataset(mode, *paths, label=1):
    config = ClipConfig(MODEL=KEYS, **{section: SIZES for section in ("TRAIN", "VALID", "TEST", "INFER")})
    return ClipDataset(config, mode, [Item(path, label, str(path)) for path in paths], seed=3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    clips = tiny.make_clips(folder, count=2)
    for protocol in (0, 2, 4):
        tiny.make_pickle(folder / f"p{protocol}.pkl", label=1, protocol=protocol)
    return clips.parent


@pytest.mark.parametrize("name", ["clip 1 (é).mp4", "p0.pkl", "p2.pkl", "p4.pkl"])
def test_samples_of_both_forms(files, name):
    frames, label, _ = dataset("test", files / name).read(0, epoch=0)
    assert frames.shape == (6, 32, 32, 3) and frames.dtype == np.uint8 and label == 1
    assert 170 < frames.mean() < 190


def test_ids(files):
    """A pickle carries its video's id; a clip is called what the list called it (the old zoo gave its label)."""
    assert dataset("infer", files / "p2.pkl").read(0, 0)[2] == "./p2"
    assert dataset("infer", files / "clip 1 (é).mp4").read(0, 0)[2].endswith("clip 1 (é).mp4")


def test_python_2_pickles(tmp_path):
    tiny.make_pickle(tmp_path / "a.pkl", label=1)
    name, label, frames = read_pickle(tmp_path / "a.pkl")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps((name.encode(), np.int64(label), frames), protocol=2))
    assert read_pickle(tmp_path / "b.pkl")[:2] == ("./a", 1)


@pytest.mark.parametrize("name", ["clip 1 (é).mp4", "p2.pkl"])
def test_training_draws_from_seed_epoch_and_index(files, name):
    data = dataset("train", files / name, files / name)
    one, again, other_epoch, other_index = (
        data.read(index, epoch)[0] for index, epoch in ((0, 1), (0, 1), (0, 2), (1, 1))
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other_epoch) and not np.array_equal(one, other_index)


@pytest.mark.parametrize(
    "content, reason",
    [
        (
            [{"video": b"x", "feature": np.zeros((2, 1024), np.uint8)}],
            "expected a .video_id, label, frames. tuple, found list",
        ),
        (("id", 0, []), "frame length 0 less than 1"),
        (("id", "zero", [b"x"]), "integer label"),
        (("id", 0, [b"not a jpeg"]), "frame 0 is not a readable image"),
        (("id", 5, [b"x"]), "label '5' is not in 0..1"),
    ],
)
def test_wrong_pickles_say_what_is_wrong(tmp_path, content, reason):
    """Quirk 12 and complaint 16: one sentence with the path, and no dead worker."""
    path = tmp_path / "wrong.pkl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(VideoError, match=f"wrong.pkl'.*{reason}"):
        dataset("test", path).read(0, 0)


def test_broken_files(tmp_path, files):
    cut = tmp_path / "cut.pkl"
    cut.write_bytes((files / "p2.pkl").read_bytes()[:500])
    for path in (cut, tmp_path / "absent.pkl", tmp_path / "absent.mp4"):
        with pytest.raises(VideoError, match=path.name):
            dataset("test", path).read(0, 0)


def test_nothing_in_a_pickle_is_executed(tmp_path):
    marker = tmp_path / "marker"

    class Bomb:
        def __reduce__(self):
            return (exec, (f"open({str(marker)!r}, 'w').close()",))

    path = tmp_path / "bomb.pkl"
    path.write_bytes(pickle.dumps(("id", 0, [Bomb()])))
    with pytest.raises(VideoError, match="refused"):
        dataset("test", path).read(0, 0)
    assert not marker.exists()


def test_batches(files):
    data = dataset("valid", files / "clip 0 (é).mp4", files / "p2.pkl", files / "clip 1 (é).mp4")
    data.section = data.section.model_copy(update={"batch_size": 2})
    batches = list(loader_for(data, data.section).epoch())
    assert [batch.feed["frames"].shape[0] for batch in batches] == [2, 1] and batches[0].feed["label"].tolist() == [
        [1],
        [1],
    ]


@pytest.mark.parametrize("protocol", [2, 4])
def test_both_orders_of_a_pickle(tmp_path, protocol):
    """MindSpore's StNet document says (video_id, frames, label), the old zoo wrote (video_id, label, frames)."""
    tiny.make_pickle(tmp_path / "a.pkl", label=1)
    name, label, frames = read_pickle(tmp_path / "a.pkl")
    for kind in (tuple, list):
        (tmp_path / "b.pkl").write_bytes(pickle.dumps((name, kind(frames), label), protocol))
        assert read_pickle(tmp_path / "b.pkl") == (name, label, frames)


def test_a_label_of_thousands_of_digits_is_one_bad_sample(tmp_path):
    """Regression: a label of 10**5000 could not even be put in a message, and ended the run with a traceback."""
    tiny.make_pickle(tmp_path / "good.pkl", label=1)
    for label in (10**5000, -(10**5000), 2**40):
        (tmp_path / "bad.pkl").write_bytes(pickle.dumps(("id", label, [b"x"]), 2))
        data = dataset("infer", tmp_path / "bad.pkl", tmp_path / "good.pkl")
        loader = loader_for(data, data.section)
        assert [batch.indices for batch in loader.epoch()] == [[1]] and re.search(
            "too large|whole number", loader.bad[0]
        )


def test_a_name_with_a_lone_surrogate_can_be_stored(tmp_path):
    """Regression: a record called '\\ud800' ended the run when its result was written."""
    tiny.make_pickle(tmp_path / "a.pkl", label=1)
    _, label, frames = read_pickle(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(("\ud800", label, frames), 4))
    assert dataset("infer", tmp_path / "a.pkl").read(0, 0)[2] == r"\ud800"


def test_frames_of_an_impossible_size_are_one_bad_sample(tmp_path):
    bombs.wide_pickle(tmp_path / "bad.pkl", 65500, 65500)
    tiny.make_pickle(tmp_path / "good.pkl", label=1)
    data = dataset("infer", tmp_path / "bad.pkl", tmp_path / "good.pkl")
    loader = loader_for(data, data.section)
    assert [batch.indices for batch in loader.epoch()] == [[1]] and "65500x65500 pixels" in loader.bad[0]
