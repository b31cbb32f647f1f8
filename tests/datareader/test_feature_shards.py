"""Feature shards: both kinds and every writer, order, repeatability, bounded memory, and one sentence for each
defect.
"""

import os
import pickle

import numpy as np
import pytest

from datareader.features import dataset as youtube8m
from datareader.features.dataset import FeatureDataset
from datareader.features.examples import sequence_example
from datareader.features.shards import LRUCache
from datareader.features.tfrecord import write
from datareader.loader import Loader
from dataset.youtube8m.synthetic import videos, write_shard
from dataset.youtube8m.tf2pkl import old_record
from engine.configuration import configure
from utils.errors import DataError

CLASSES = 16


def dataset(path, mode="test", model="AttentionLSTM", seed=0, **keys):
    """The dataset of a list, with MODEL keys."""
    overrides = {f"{mode.upper()}.filelist": str(path), **{f"MODEL.{key}": value for key, value in keys.items()}}
    return FeatureDataset.from_config(
        configure(model, None, {"MODEL.num_classes": CLASSES, **overrides})[1], mode, seed
    )


def write_list(folder, *names):
    path = folder / "shards.list"
    path.write_text("\n".join(names), encoding="utf-8")
    return path


def examples(count=6, part="train"):
    return list(videos(part, count, CLASSES, frames=8))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A list of 5 shards of 4 videos each, of both kinds, every second one with the ending of the other kind.

    Blanks in the name.
    """
    folder = tmp_path_factory.mktemp("mixed shards")
    content, names = examples(20), []
    for i in range(5):
        kind, other = ("pkl", "tfrecord") if i % 2 else ("tfrecord", "pkl")
        write_shard(folder / f"new.{kind}", content[4 * i : 4 * i + 4])
        names.append(f"shard {i}.{other if i < 2 else kind}")
        (folder / f"new.{kind}").rename(folder / names[-1])
    return write_list(folder, "", *names, " ")


def batches(data, size=4, threads=2, epoch=0, start=0, **settings):
    return list(Loader(data, size, threads, **settings).epoch(epoch, start))


def ids(data, **settings):
    return [name for batch in batches(data, **settings) for name in batch.ids]


def test_both_kinds_in_one_list_are_told_by_content(mixed):
    found = batches(dataset(mixed), size=20)[0]
    for row, example in enumerate(examples(20)):
        count = len(example["rgb"])
        assert (
            found.ids[row] == example["id"]
            and found.feed["length"][row] == count
            and found.labels[row] == example["labels"]
        )
        for name in ("rgb", "audio"):
            assert (found.feed[name][row, :count] == example[name]).all() and not found.feed[name][row, count:].any()
        assert np.flatnonzero(found.feed["label"][row]).tolist() == example["labels"]
    assert found.feed["rgb"].dtype == np.uint8 and found.feed["rgb"].shape == (20, max(found.feed["length"]), 1024)
    assert found.feed["label"].dtype == np.float32 and found.feed["length"].dtype == np.int64


@pytest.mark.parametrize("mode", ["valid", "test", "infer"])
def test_order_is_the_lists_and_the_short_last_batch_is_kept(mixed, mode):
    """Quirk 11: up to 255 videos of 256 were dropped."""
    found = batches(dataset(mixed, mode), size=8)
    assert [len(batch.ids) for batch in found] == [8, 8, 4]
    assert sum((batch.ids for batch in found), []) == [f"train_{i:05d}" for i in range(20)]
    assert ("label" in found[0].feed) == (mode != "infer")


def test_each_epoch_has_its_own_order_of_shards_and_videos(mixed):
    """The old zoo shuffled the shards once, when training began."""
    data = dataset(mixed, "train")
    first, second = (ids(data, epoch=epoch, training=True) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == [f"train_{i:05d}" for i in range(20)] and first != second


def test_videos_are_shuffled_within_windows_of_shards():
    def shards(seed):
        """Of each of 20 videos: the number of its shard, of five with four videos."""
        return youtube8m.shuffled_in_windows(range(0, 24, 4), 2, np.random.default_rng(seed)) // 4

    order = shards(1)
    groups = [set(order[:8]), set(order[8:16]), set(order[16:])]
    assert [len(group) for group in groups] == [2, 2, 1] and set.union(*groups) == set(range(5))
    assert len(set(order[:4])) == 2  # mixed within the window
    assert len({frozenset(shards(seed)[:8]) for seed in range(9)}) > 3  # of any shards, not of neighbours


@pytest.mark.parametrize("model", ["AttentionCluster", "AttentionLSTM"])
def test_an_epoch_is_the_same_with_any_number_of_threads_and_from_any_batch(mixed, model):
    wanted = batches(dataset(mixed, "train", model, seed=5), threads=1, epoch=3, training=True, seed=5)
    for settings in ({"threads": 4}, {"threads": 2, "start": 2}):
        found = batches(dataset(mixed, "train", model, seed=5), epoch=3, training=True, seed=5, **settings)
        for one, other in zip(found, wanted[settings.get("start", 0) :], strict=True):
            assert one.ids == other.ids and all((one.feed[name] == other.feed[name]).all() for name in one.feed)


def test_frames_are_cut_at_nframes_and_max_frames(tmp_path):
    record = old_record(examples(1)[0])
    record = {**record, b"feature": np.zeros((9, 1024), np.uint8), b"audio": np.zeros((9, 128), np.uint8)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([{**record, b"nframes": n} for n in (3, 9, 300)], 2))
    path = write_list(tmp_path, "a.pkl")
    assert batches(dataset(path))[0].feed["length"].tolist() == [3, 9, 9]
    assert batches(dataset(path, max_frames=5))[0].feed["length"].tolist() == [3, 5, 5]


def test_tfrecords_longer_than_300_frames_are_cut_as_tf2pkl_does(tmp_path):
    example = {**examples(1)[0], "rgb": np.zeros((310, 1024), np.uint8), "audio": np.zeros((310, 128), np.uint8)}
    write(tmp_path / "a.tfrecord", [sequence_example(**example)])
    assert dataset(write_list(tmp_path, "a.tfrecord"), max_frames=400).read(0, 0)[0]["rgb"].shape == (300, 1024)


def test_attention_cluster_sees_the_same_frames_in_every_evaluation(mixed):
    """Quirk 19: frames were drawn at random outside training too, so that scores changed from run to run."""
    wanted = examples(20)[7]
    for mode in ("valid", "test", "infer"):
        first, second = (
            dataset(mixed, mode, "AttentionCluster", seed, seg_num=10).read(7, epoch)[0]
            for seed, epoch in ((0, 0), (1, 2))
        )
        middles = [int((i + 0.5) * len(wanted["rgb"]) / 10) for i in range(10)]
        for name in ("rgb", "audio"):
            assert (first[name] == second[name]).all() and (first[name] == wanted[name][middles]).all()
    data = dataset(mixed, "train", "AttentionCluster", seg_num=10)
    assert (data.read(7, 0)[0]["rgb"] != data.read(7, 1)[0]["rgb"]).any()
    assert "length" not in batches(data)[0].feed


KEYS = {"bytes": lambda key: key, "str": bytes.decode}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("keys", KEYS)
def test_keys_may_be_bytes_or_str(tmp_path, keys, protocol):
    """Quirk 30: v1.6's tool wrote str keys under Python 3, and its reader looked for bytes."""
    records = [{KEYS[keys](key): value for key, value in old_record(example).items()} for example in examples(2)]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(records, protocol))
    (batch,) = batches(dataset(write_list(tmp_path, "a.pkl")))
    assert batch.ids == ["train_00000", "train_00001"] and (batch.feed["rgb"][0, : len(records[0])] > 0).any()


def test_a_pickle_of_one_video(tmp_path):
    """As the zoo's successor stored them, numbers as numpy scalars."""
    record = {**old_record(examples(1)[0]), b"nframes": np.int32(4), b"label": np.array([3, 5])}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(record, 2))
    (batch,) = batches(dataset(write_list(tmp_path, "a.pkl")))
    assert batch.labels == [[3, 5]] and batch.feed["length"].tolist() == [4]


def test_inference_needs_no_labels(tmp_path):
    record = old_record(examples(1)[0])
    del record[b"label"]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([record], 2))
    assert ids(dataset(write_list(tmp_path, "a.pkl"), "infer")) == ["train_00000"]


FLOAT = np.zeros((4, 1024), np.float32)
RECORDS = {
    "no frames": ({b"nframes": 0}, r"a.pkl', record 1 \(video 'train_00001'\) has no frames"),
    "label": ({b"label": [1, 16]}, "a.pkl', record 1: label '16' is not in 0..15"),
    "a mask": ({b"label": [True] * 16}, "record 1: 'label' is '.True, .*', expected a list of class indices"),
    "label type": ({b"label": "cat"}, "record 1: 'label' is 'cat', expected a list of class indices"),
    "width": (
        {b"feature": np.zeros((4, 99), np.uint8), b"audio": np.zeros((4, 128), np.uint8)},
        "record 1: 'rgb' has 99 values a frame, the model is set up for '1024'",
    ),
    "floats": ({b"feature": FLOAT, b"audio": FLOAT[:, :128]}, "'rgb' is float32; set MODEL.feature_type to float"),
    "type": ({b"feature": FLOAT.astype(float)}, r"'feature' is float64 \[4, 1024\]; expected features, uint8, float16"),
    "list": ({b"audio": [1, 2]}, r"'audio' is list; expected features, uint8, float16 or float32 \[frames, values\]"),
    "rows": (
        {b"audio": np.zeros((2, 128), np.uint8), b"feature": np.zeros((4, 1024), np.uint8)},
        "4 frames of 'feature' and 2 of 'audio'",
    ),
    "huge label": ({b"label": [10**30]}, "label '10{30}' is not in 0..15"),
    "huge nframes": ({b"nframes": -(10**30)}, "has no frames"),
    "nframes": ({b"nframes": "many"}, "'nframes' is 'many', expected a whole number"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_defective_record_is_left_out_with_its_reason(tmp_path, name):
    change, message = RECORDS[name]
    records = [old_record(example) for example in examples(3)]
    records[1].update(change)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(records, 2))
    loader = Loader(dataset(write_list(tmp_path, "a.pkl")), 8)
    (batch,) = loader.epoch()
    assert batch.ids == ["train_00000", "train_00002"] and list(loader.bad) == [1]
    with pytest.raises(DataError, match=message):
        raise DataError(loader.bad[1])
    assert loader.dataset.name(1) == "a.pkl, record 1"


def test_a_record_with_a_lone_surrogate_for_a_name(tmp_path):
    """Regression: the run ended when the name was written."""
    records = [old_record(example) for example in examples(1)]
    records[0][b"video"] = "\ud800"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(records, 4))
    (batch,) = Loader(dataset(write_list(tmp_path, "a.pkl")), 8).epoch()
    assert batch.ids == [r"\ud800"]


def test_a_record_without_a_key_or_that_is_no_dictionary(tmp_path):
    record = old_record(examples(1)[0])
    del record[b"nframes"]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([record, 7], 2))
    loader = Loader(dataset(write_list(tmp_path, "a.pkl")), 8)
    assert list(loader.epoch()) == []
    assert (
        "record 0 has no 'nframes'; expected video, feature, label, nframes, and audio, found 'audio', 'feature'"
        in loader.bad[0]
    )
    assert "record 1: expected a dictionary, found int" in loader.bad[1]


def flipped(content):
    """The bytes with one bit of the middle one changed."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


SHARDS = {
    "cut pickle": (lambda folder: (folder / "good.pkl").read_bytes()[:-3000], "is not a readable pickle"),
    "Kinetics": (
        lambda folder: pickle.dumps(("./abc", 3, [b"\xff\xd8"]), 2),
        "is a Kinetics clip, .*which TSN and STNET read",
    ),
    "mapping": (lambda folder: pickle.dumps({"a": 1}, 2), "has no 'video', 'feature', 'nframes'"),
    "number": (lambda folder: pickle.dumps(7, 2), "expected a list of dictionaries, one a video, found int"),
    "nothing": (lambda folder: pickle.dumps([], 2), "is an empty list"),
    "code": (lambda folder: b"\x80\x02cos\nsystem\nU\x02ls\x85R.", "refused: it asks for 'os.system'"),
    "empty": (lambda folder: b"", "is empty"),
    "clip": (
        lambda folder: b"\x00\x00\x00 ftypisom" * 9,
        "the checksum of the length does not fit: damaged, or no uncompressed TFRecord",
    ),
    "video level": (lambda folder: None, "no 'rgb'"),
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_defective_shard_counts_as_one_bad_video(tmp_path, name):
    """Quirk 12: an exception in a worker, or a missing list, hung the old zoo."""
    make, message = SHARDS[name]
    write_shard(tmp_path / "good.pkl", examples(3))
    write_shard(tmp_path / "other.tfrecord", examples(2, "val"))
    content = make(tmp_path)
    if content is None:
        write(tmp_path / "bad", [sequence_example(**examples(1)[0]).replace(b"rgb", b"bgr")])
    else:
        (tmp_path / "bad").write_bytes(content)
    loader = Loader(dataset(write_list(tmp_path, "good.pkl", "bad", "other.tfrecord")), 4)
    assert sum((batch.ids for batch in loader.epoch()), []) == [
        "train_00000",
        "train_00001",
        "train_00002",
        "val_00000",
        "val_00001",
    ]
    assert list(loader.bad) == [3]
    with pytest.raises(DataError, match=message):
        raise DataError(loader.bad[3])
    assert "bad'" in loader.bad[3]


@pytest.mark.parametrize(
    "damage, kept, message",
    [
        (flipped, ["train_00000", "train_00002"], "the checksum of the data does not fit"),
        (lambda content: content[:-100], ["train_00000", "train_00001"], "the file ends inside the record"),
    ],
    ids=["flipped", "cut"],
)
def test_what_is_whole_in_a_damaged_tfrecord_is_used(tmp_path, damage, kept, message):
    same = {"rgb": np.ones((4, 1024), np.uint8), "audio": np.ones((4, 128), np.uint8)}
    write(tmp_path / "a.tfrecord", [sequence_example(**{**example, **same}) for example in examples(3)])
    (tmp_path / "a.tfrecord").write_bytes(damage((tmp_path / "a.tfrecord").read_bytes()))
    loader = Loader(dataset(write_list(tmp_path, "a.tfrecord")), 4)
    assert sum((batch.ids for batch in loader.epoch()), []) == kept
    (reason,) = loader.bad.values()
    assert message in reason and "a.tfrecord', record at byte " in reason


def test_missing_shards_and_things_that_are_no_files(tmp_path):
    write_shard(tmp_path / "good.pkl", examples(3))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    loader = Loader(dataset(write_list(tmp_path, "good.pkl", "absent.pkl", "pipe", "folder")), 4)
    assert len(ids(loader.dataset)) == 3 and list(loader.epoch())
    assert [reason.partition("' ")[2] for reason in loader.bad.values()] == [
        "does not exist; check the path and the folder it is relative to",
        "is a pipe or a device; expected a file",
        "is a folder; expected a file",
    ]


def test_mostly_unreadable_lists_stop_at_once(tmp_path):
    write_shard(tmp_path / "good.pkl", examples(3))
    path = write_list(tmp_path, "good.pkl", "absent.pkl", "absent too.pkl")
    assert len(dataset(path)) == 5
    with pytest.raises(
        DataError, match="2 of 3 shards of the train list cannot be read: '.*absent.pkl' does not exist"
    ):
        dataset(path, "train")
    with pytest.raises(DataError, match="1 of 1 shards of the test list cannot be read"):
        dataset(write_list(tmp_path, "absent.pkl"))


def test_few_structures_are_kept_and_each_is_made_once():
    made = []
    recent = LRUCache(lambda key: made.append(key) or key, 2)
    assert [recent[key] for key in "abacabca"] == list("abacabca") and made == list("abcbca")


def test_command_line_paths(mixed):
    config = configure("AttentionLSTM", None, {})[1]
    assert len(FeatureDataset.from_paths(config, "infer", [mixed.parent])) == 20
    with pytest.raises(
        DataError,
        match="'a.mp4' is a clip, but this model classifies YouTube-8M features.*TSN and STNET classify clips",
    ):
        FeatureDataset.from_paths(config, "infer", ["a.mp4"])
