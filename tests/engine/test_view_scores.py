"""Scores of several views: averaged by hand from single runs, at most batch_size views in the graph at once."""

from functools import partial

import numpy as np
import paddle
import pytest
from paddle.nn.initializer import Normal

from datareader import loader_for
from datareader.clips.dataset import ClipDataset
from datareader.lists import Item
from engine import views
from engine.evaluator import evaluate
from engine.graph.device import Device
from engine.graph.program import Graph
from metrics import Accuracy
from models.base import ClipModel
from models.layers.named import linear, parameter
from support import clips

SIZES = {"short_size": 36, "target_size": 32}


class Squares(ClipModel):
    """A linear classifier of the mean squared colour."""

    name = "SQUARES"

    def network(self, inputs, training):
        x = paddle.mean(inputs["image"] ** 2, axis=[1, 3, 4])
        return linear(x, parameter("w", [x.shape[1], self.settings.num_classes], Normal()), None)


class Watched(Device):
    """Notes how many rows each run has."""

    def __init__(self):
        super().__init__(onednn=True)
        self.rows = []

    def run(self, graph, feed, fetch):
        self.rows.append(len(feed["frames"]))
        return super().run(graph, feed, fetch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for i, frames in enumerate((12, 20)):
        clips.write_clip(folder / f"{i}.mp4", frames=frames)
    return folder


def setup(folder, **test):
    """Device, test graph and loader."""
    config = Squares.config_class(
        MODEL={"num_classes": 2, "seg_num": 2}, TEST={**SIZES, **test}, TRAIN=SIZES, VALID=SIZES, INFER=SIZES
    )
    data = ClipDataset(config, "test", [Item(folder / f"{i}.mp4", i, f"{i}.mp4") for i in (0, 1)])
    device, graph = Watched(), Graph(Squares(config, "test"))
    device.initialise(graph, seed=3)
    return device, graph, loader_for(data, data.section)


@pytest.mark.parametrize(
    "average, batch_size, rows",
    [("prob", 8, [8, 8, 4] * 2), ("logits", 8, [8, 8, 4] * 2), ("prob", 40, [40]), ("logits", 50, [40])],
)
def test_averages_equal_those_of_single_runs(folder, average, batch_size, rows):
    """Two videos of 20 views each: one after the other, or both in one step."""
    device, graph, loader = setup(folder, num_clips=2, num_crops=10, average=average, batch_size=batch_size)
    found = []

    def collect(batch, scores):
        found.append((batch.ids, batch.labels, scores))

    metric = evaluate(device, graph, loader, lambda: Accuracy(2), collect=collect)
    assert device.rows == rows
    expected = []
    for index in (0, 1):
        frames, label, _ = loader.dataset.read(index, 0)
        single = [
            device.run(graph, {"frames": view[None], "label": np.array([[label]])}, [graph.probabilities, graph.logits])
            for view in frames
        ]
        probabilities, logits = (np.concatenate(column) for column in zip(*single, strict=True))
        powers = np.exp(logits.mean(axis=0))
        expected.append(probabilities.mean(axis=0) if average == "prob" else powers / powers.sum())
    assert sum((names for names, *_ in found), []) == ["0.mp4", "1.mp4"] and sum(
        (labels for _, labels, _ in found), []
    ) == [0, 1]
    np.testing.assert_allclose(np.concatenate([scores for *_, scores in found]), expected, rtol=1e-4)
    assert metric.result()["loss"] == pytest.approx(-np.log([expected[0][0], expected[1][1]]).mean(), rel=1e-4)


def test_the_two_averages_differ(folder):
    device, graph, loader = setup(folder, num_crops=10, batch_size=40)
    (batch,) = loader.epoch()
    assert len(batch.ids) == 2
    scores = [
        views.probabilities(
            partial(device.scores, graph), batch.feed, loader.dataset.section.model_copy(update={"average": average})
        )
        for average in ("prob", "logits")
    ]
    np.testing.assert_allclose(*scores, atol=0.01)
    assert np.abs(scores[0] - scores[1]).max() > 1e-4 and device.rows == [20, 20]


def test_loss_of_a_hopeless_guess_is_finite():
    assert 80 < views.cross_entropy(np.array([[1.0, 0.0]], np.float32), np.array([[1]])) < 100
