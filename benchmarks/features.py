"""Speed of the feature side on one CPU core: the scores of an epoch, parsing shards, and reading batches against the
old way.

    python benchmarks/features.py

Times are CPU seconds, the best of some rounds that take turns, with the files in the page cache.
"""

import pickle
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)
from datareader import READERS, Loader
from datareader.features import tfrecord
from datareader.features.examples import parse_sequence_example, sequence_example
from dataset.youtube8m.synthetic import videos
from dataset.youtube8m.tf2pkl import old_record, write_pickle
from engine.configuration import configure
from metrics.youtube8m import YouTube8M
from utils.pickles import safe as unpickle


def seconds(function, *args):
    start = time.process_time()
    function(*args)
    return time.process_time() - start


def best(functions, rounds):
    """{name: least seconds} of alternating functions, so that slow moments of the machine affect all of them."""
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: min(taken) for name, taken in times.items()}


def scores(count=50_000, batch=1000, classes=3862):
    """Time of an epoch of `count` videos at k = 20: accumulating, and ranking the million pairs."""
    rng, metric, update = np.random.default_rng(0), YouTube8M(classes), 0.0
    for _ in range(count // batch):
        probabilities = rng.random((batch, classes), dtype=np.float32) ** 8
        labels = rng.random((batch, classes), dtype=np.float32) < 0.01 * probabilities
        update += seconds(metric.update, probabilities, labels, 1.0)
    print(
        f"scores of {count} x {classes}, k = {metric.k}: update {update:.1f} s, result {seconds(metric.result):.1f} s "
        f"(of it mAP {seconds(metric.average_precisions):.1f} s), "
        f"{sum(part.nbytes for pool in metric.pools for part in pool) / count:.0f} bytes a video kept"
    )


def read_tfrecord(path):
    for record in tfrecord.records(path):
        parse_sequence_example(record)


def read_pickle(path):
    """As the old zoo read it under Python 3."""
    with open(path, "rb") as file:
        pickle.load(file, encoding="bytes")


def write_shards(folder, count=200, frames=300):
    """{kind: path} of one shard of each kind, all with the same videos."""
    examples = [
        {
            **example,
            "rgb": np.resize(example["rgb"], (frames, 1024)),
            "audio": np.resize(example["audio"], (frames, 128)),
        }
        for example in videos("train", count)
    ]
    shards = {
        "TFRecord": folder / "shard.tfrecord",
        "pickle by Python 2": folder / "python2.pkl",
        "pickle by Python 3": folder / "python3.pkl",
    }
    tfrecord.write(shards["TFRecord"], (sequence_example(**example) for example in examples))
    write_pickle(shards["pickle by Python 2"], map(old_record, examples))
    shards["pickle by Python 3"].write_bytes(pickle.dumps(list(map(old_record, examples)), protocol=2))
    return shards


def parsing(shards, count=200, rounds=7):
    """Time a record of parsing each kind of shard whole."""
    python2, python3 = shards["pickle by Python 2"], shards["pickle by Python 3"]
    times = best(
        {
            "TFRecord": lambda: read_tfrecord(shards["TFRecord"]),
            "pickle by Python 2, pickle.load": lambda: read_pickle(python2),
            "pickle by Python 3, pickle.load": lambda: read_pickle(python3),
            "pickle by Python 2, restricted": lambda: unpickle.load(python2, encoding="bytes"),
            "pickle by Python 3, restricted": lambda: unpickle.load(python3, encoding="bytes"),
        },
        rounds,
    )
    for name, taken in times.items():
        print(
            f"parsing a {name:32s} {taken / count * 1e6:6.0f} us a record, "
            f"TFRecord takes {times['TFRecord'] / taken:.2f} of it"
        )


def old_batches(path, batch=40, classes=3862):
    """What the old zoo's reader and feeder did with a pickle (v1.3, AttentionLSTM): float64 samples, a list of every
    frame, a cast.
    """
    with open(path, "rb") as file:
        content = pickle.load(file, encoding="bytes")
    samples = []
    for record in content:
        frames = record[b"nframes"]
        rgb, audio = ((record[key][:frames].astype(float) * 4 / 255) + (4 / 512 - 2) for key in (b"feature", b"audio"))
        label = np.zeros(classes)
        label[record[b"label"]] = 1
        samples.append((rgb, audio, label))
        if len(samples) == batch:
            for i in (0, 1):
                np.array([frame for sample in samples for frame in sample[i]], np.float32)
            np.array([sample[2] for sample in samples], np.float32)
            samples = []


def new_batches(path, batch=40):
    """The feeds of the test mode, from opening the shard on."""
    listed = path.with_suffix(".list")
    listed.write_text(f"{path}\n", encoding="utf-8")
    _, config = configure("AttentionLSTM", None, {"TEST.filelist": str(listed)})
    for _ in Loader(READERS["features"].from_config(config, "test"), batch, threads=2).epoch():
        pass


def reading(shards, count=200, rounds=5):
    """Records a second from a cold start to float features or uint8 batches: the old way and this one."""
    old = {kind: f"the old way with a {kind}" for kind in ("pickle by Python 2", "pickle by Python 3")}
    times = best(
        {
            **{name: partial(old_batches, shards[kind]) for kind, name in old.items()},
            **{kind: partial(new_batches, shards[kind]) for kind in shards},
        },
        rounds,
    )
    for kind in shards:
        other = old.get(kind, old["pickle by Python 2"])
        print(
            f"batches from a {kind:18s} {count / times[kind]:5.0f} records/s, "
            f"{times[other] / times[kind]:.1f} times {other} "
            f"({count / times[other]:.0f})"
        )


if __name__ == "__main__":
    scores()
    with tempfile.TemporaryDirectory() as folder:
        written = write_shards(Path(folder))
        parsing(written)
        reading(written)
