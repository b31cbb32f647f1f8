"""What several processes keep adds up to what one keeps: slices of batches, metrics; settings that cannot be split."""

import os

import numpy as np
import pytest

from datareader.loader import Loader
from dataset.youtube8m import synthetic
from engine.configuration import configure
from engine.distributed.group import BUCKET, _buckets
from engine.distributed.launch import divisible, joined
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.graph.step import Stepper
from engine.trainer import Trainer
from metrics.accuracy import Accuracy
from metrics.youtube8m import YouTube8M
from utils.errors import ConfigError


class Listed:
    """Samples that are their index; those of `bad` cannot be read."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def shuffled(self, rng):
        return rng.permutation(self.count)

    def buffer(self, count):
        return np.empty(count)

    def feed(self, buffer, labels):
        return {"x": buffer}

    def read(self, index, epoch):
        return index, 0, str(index)


@pytest.mark.parametrize("count, size, world", [(11, 4, 3), (9, 4, 2), (7, 1, 4), (12, 6, 3)])
def test_every_sample_is_in_one_slice(count, size, world):
    parts = [
        {batch.number: batch.indices for batch in Loader(Listed(count), size, part=(rank, world)).epoch()}
        for rank in range(world)
    ]
    whole = {batch.number: batch.indices for batch in Loader(Listed(count), size).epoch()}
    assert whole == {number: sum((part.get(number, []) for part in parts), []) for number in whole}


def test_training_slices_are_equal_parts_of_the_shuffled_batches():
    loaders = [Loader(Listed(26), 6, training=True, seed=3, part=(rank, 3)) for rank in range(3)]
    parts = [[batch.indices for batch in loader.epoch(1)] for loader in loaders]
    whole = [batch.indices for batch in Loader(Listed(26), 6, training=True, seed=3).epoch(1)]
    assert [sum(slices, []) for slices in zip(*parts, strict=True)] == whole and {
        len(rows) for part in parts for rows in part
    } == {2}


def parts_of(new_metric, batches, world):
    """(metric of whole batches, metric merged from slices of them); labels and scores may tie."""
    whole, parts = new_metric(), [new_metric() for _ in range(world)]
    for number, (scores, labels) in enumerate(batches):
        losses = np.arange(len(labels)) + number
        whole.update(scores, labels, losses.mean(), number)
        for rank, part in enumerate(parts):
            rows = slice(len(labels) * rank // world, len(labels) * (rank + 1) // world)
            if len(labels[rows]):
                part.update(scores[rows], labels[rows], losses[rows].mean(), number)
    merged = parts[0]
    merged.merge([part.state() for part in parts])
    return whole, merged


def test_youtube8m_scores_are_the_same_in_parts_even_where_scores_tie():
    rng = np.random.default_rng(0)
    # Each video has its nine scores in an order of its own: what ties is scores of different videos.
    batches = [
        (rng.permuted(np.tile(np.arange(9) / 9, (size, 1)), axis=1), rng.random((size, 9)) < 0.3) for size in (8, 8, 2)
    ]
    whole, merged = parts_of(lambda: YouTube8M(9, 4), batches, 3)
    expected = whole.result()
    assert merged.result() == pytest.approx(expected, rel=1e-12)
    assert (merged.result()["gap"], merged.result()["map"]) == (expected["gap"], expected["map"])
    swapped = YouTube8M(9, 4)
    for scores, labels in batches[::-1]:
        swapped.update(scores, labels, 0.0)
    assert swapped.result()["gap"] != expected["gap"]  # the order does decide here


def test_accuracy_is_the_same_in_parts():
    rng = np.random.default_rng(0)
    batches = [(rng.random((size, 6)), rng.integers(0, 6, size)) for size in (5, 5, 1)]
    whole, merged = parts_of(lambda: Accuracy(6), batches, 4)
    assert merged.result() == pytest.approx(whole.result()) and merged.count == 11


def test_indivisible_batch_names_the_nearest():
    _, config = configure("TSN", None, {"TRAIN.batch_size": 10})
    with pytest.raises(ConfigError, match="'10'.* 4 processes.* 8 and 12"):
        divisible(config.TRAIN, 4)
    divisible(config.TRAIN, 5)
    _, config = configure("TSN", None, {"TRAIN.batch_size": 10, "TRAIN.accumulate_steps": 3})
    with pytest.raises(ConfigError, match="'10'.* 2 processes times 3 accumulate_steps.* 6 parts .* 6 and 12"):
        divisible(config.TRAIN, 2)


class Value:
    def __init__(self, size):
        self.shape = [size]


def test_buckets_hold_every_gradient_once_in_order():
    sizes = [1, BUCKET - 1, 1, 2 * BUCKET, 5]
    assert [[value.shape[0] for value in bucket] for bucket in _buckets([Value(size) for size in sizes])] == [
        [1, BUCKET - 1],
        [1],
        [2 * BUCKET],
        [5],
    ]


def test_alone_nothing_is_shared_and_no_one_is_waited_for(monkeypatch):
    for name in [name for name in os.environ if name.startswith("PADDLE_")]:
        monkeypatch.delenv(name)
    with joined() as group:
        value = {"a": np.ones(2)}
        assert (group.rank, group.world, group.is_main) == (0, 1, True)
        assert (
            group.gather(value) == [value]
            and group.broadcast(value) is value
            and group.mean(value) is value
            and group.broadcast_object(3) == 3
        )
        group.wait()


@pytest.mark.parametrize(
    "name, keys",
    [
        ("AttentionCluster", {"MODEL.seg_num": 4, "MODEL.cluster_nums": [2, 2], "MODEL.hidden_sizes": [16, 16]}),
        ("AttentionLSTM", {"MODEL.embedding_size": 8, "MODEL.lstm_size": 4, "MODEL.hidden_sizes": [16, 16]}),
    ],
)  # its loss is a sum
def test_pieces_add_up_to_the_undivided_batch(name, keys, tmp_path):
    train, _ = synthetic.make(tmp_path, "pkl", train=8, val=1, shard=4, classes=3, frames=5)
    overrides = {
        **keys,
        "MODEL.num_classes": 3,
        "MODEL.topk": 3,
        "MODEL.drop_rate": 0,
        "TRAIN.batch_size": 4,
        "TRAIN.epoch": 2,
        "TRAIN.seed": 1,
        "TRAIN.filelist": str(train),
        "TRAIN.learning_rate": 1e-4,
    }
    found = {}
    for pieces in (1, 4):
        model, config = configure(name, None, {**overrides, "TRAIN.accumulate_steps": pieces})
        trainer = Trainer(model, config, tmp_path / str(pieces), valid_interval=0, pages=False)
        trainer.start()
        history = trainer.fit()
        found[pieces] = trainer.device.get(trainer.graph.parameters), [epoch["loss"] for epoch in history]
        assert trainer.step == 4
    assert found[4][1] == pytest.approx(found[1][1], rel=1e-5)
    for parameter in found[1][0]:
        if not parameter.endswith("conv.bias"):  # softmax does not see it: Adam makes steps of its rounding errors
            np.testing.assert_allclose(
                found[4][0][parameter], found[1][0][parameter], rtol=0, atol=1e-6, err_msg=parameter
            )


def test_pieces_of_a_batch_with_dropout_draw_different_masks():
    overrides = {
        "MODEL.seg_num": 4,
        "MODEL.cluster_nums": [2, 2],
        "MODEL.hidden_sizes": [16, 16],
        "MODEL.num_classes": 3,
        "MODEL.topk": 3,
    }
    model, config = configure("AttentionCluster", None, overrides)
    graph, device = Graph(model(config, "train"), training=True, pieces=2), Device()
    device.initialise(graph, seed=1)
    rng = np.random.default_rng(0)
    half = {"rgb": rng.integers(0, 255, (2, 4, 1024), np.uint8), "audio": rng.integers(0, 255, (2, 4, 128), np.uint8)}
    feed = {
        **{name: np.concatenate([rows, rows]) for name, rows in half.items()},
        "label": np.zeros((4, 3), np.float32),
    }
    before = device.get(graph.parameters)
    step = Stepper(device, graph)
    _, scores = step(feed, 0.0, (5, 0))
    assert (scores[:2] != scores[2:]).any()
    np.testing.assert_array_equal(scores, step(feed, 0.0, (5, 0))[1])  # the same seed and step: the same masks
    np.testing.assert_array_equal(before["fc1.weights"], device.get(["fc1.weights"])["fc1.weights"])
