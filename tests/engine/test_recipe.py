"""Schedules, clipping and precise statistics: each by hand calculation."""

import numpy as np
import paddle
import pytest

from engine.configuration import configure
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.graph.statistics import pooled
from engine.trainer import Trainer
from models import find
from models.layers.named import parameter
from support import tiny
from support.tinynet import TinyNet
from utils.errors import RemoteError


def rates(name="TSN", epochs=6, **train):
    model = find(name)(find(name).config_class(TRAIN={"epoch": epochs, "learning_rate": 0.1, **train}), "train")
    return [model.rate(step, 10) for step in range(10 * epochs)]


def test_cosine_falls_from_the_base_rate_to_zero():
    found = rates(schedule="cosine")
    assert found[0] == 0.1 and found[15] == pytest.approx(0.1 * (1 + np.sqrt(0.5)) / 2)
    assert found[30] == pytest.approx(0.05) and found[40] == pytest.approx(0.025)  # cos(120 degrees) is -0.5
    assert 0 < found[59] < 1e-4 and found == sorted(found, reverse=True)


def test_the_warm_up_rises_in_a_line():
    assert rates(warmup_epochs=0.5)[:6] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1])
    assert rates(warmup_epochs=0.5)[20:] == rates()[20:] == pytest.approx([0.01] * 20 + [0.001] * 20)
    assert rates("TPN", warmup_epochs=1, decay_epochs=[2])[9:21:10] == pytest.approx([0.1, 0.1])
    assert rates("TPN", warmup_epochs=1, decay_epochs=[2])[20] == pytest.approx(0.01)
    warm = rates(schedule="cosine", warmup_epochs=3)
    assert warm[14] == pytest.approx(rates(schedule="cosine")[14] / 2)


class Line(TinyNet):
    """Logits are the mean colour times one matrix."""

    def network(self, inputs, training):
        x = paddle.mean(inputs["image"], axis=[1, 3, 4])  # [B, 3]
        return paddle.matmul(x, parameter("w", [3, 2], paddle.nn.initializer.Constant(0.1)))


def test_clipping_bounds_the_gradient_before_the_decay_is_added():
    train = {"clip_norm": 0.05, "l2_weight_decay": 0.1, "momentum": 0.9}
    model = Line(Line.config_class(MODEL={"num_classes": 2, "seg_num": 1}, TRAIN=train), "train")
    graph, device = Graph(model, raw=False, training=True, size=(2, 2)), Device()
    device.initialise(graph)
    image = np.tile(np.array([1.0, 2.0, -1.0], np.float32).reshape(1, 1, 3, 1, 1), (1, 1, 1, 2, 2))
    graph.rate.set(0.5)
    device.run(graph, {"image": image, "label": np.array([[0]])}, [graph.loss])
    gradient = np.outer([1.0, 2.0, -1.0], [-0.5, 0.5])  # both classes score 0.5; its norm is the root of 3
    wanted = 0.1 - 0.5 * (gradient * 0.05 / np.sqrt(3) + 0.1 * 0.1)
    np.testing.assert_allclose(device.get(["w"])["w"], wanted, rtol=1e-5)


def test_statistics_of_several_batches_are_pooled():
    batches = [
        {"m": np.array([1.0]), "v": np.array([2.0])},
        {"m": np.array([3.0]), "v": np.array([4.0])},
    ]
    found = pooled(batches, {"m": "v"})
    assert found == {"m": 2.0, "v": 4.0}  # the mean of 2 and 4, and 1 between the means
    apart = {"m": np.array([4.0]), "v": np.array([20.0])}  # what another process, of E[x] 4 and E[x^2] 20, adds
    found = pooled(batches, {"m": "v"}, lambda mine: {name: (mine[name] + apart[name]) / 2 for name in mine})
    assert found == {"m": 3.0, "v": 14.0 - 9.0}


def test_precise_statistics_are_those_of_the_batches_and_leave_the_weights(tmp_path):
    """The first batch norm after two epochs, from a convolution over the first two batches of the third."""
    clips = tiny.make_clips(tmp_path / "clips", count=6)

    def trained(**more):
        settings = {**tiny.TINY, "TRAIN.filelist": clips, "TRAIN.epoch": 2, "TRAIN.seed": 7, **more}
        model, config = configure("TINYNET", None, {key: str(value) for key, value in settings.items()})
        trainer = Trainer(model, config, tmp_path / "out", log_interval=0, valid_interval=0, pages=False)
        trainer.start("none")
        trainer.fit()
        return trainer, trainer.device.get(trainer.graph.parameters)

    _, plain = trained()
    trainer, values = trained(**{"TRAIN.precise_bn": 2})
    changed = {name for name in values if not np.array_equal(values[name], plain[name])}
    assert changed == {f"bn_conv{i}_{part}" for i in (1, 2) for part in ("mean", "variance")}
    batches = [batch.feed["frames"] for batch in trainer.loader.epoch(2)][:2]
    frames = np.concatenate(batches).reshape(-1, 32, 32, 3) / 255.0

    class Lost:
        @staticmethod
        def epoch(number):
            yield next(trainer.loader.epoch(number))
            raise RemoteError("the server is gone")

    with pytest.raises(RemoteError):
        trainer.precise.compute(Lost, 5)
    again = trainer.device.get(trainer.graph.parameters)
    assert all(np.array_equal(again[name], values[name]) for name in values)
    settings = trainer.model.settings
    image = ((frames - settings.image_mean) / settings.image_std).transpose(0, 3, 1, 2).astype(np.float32)
    weight = paddle.to_tensor(values["conv1_weights"])
    x = paddle.nn.functional.conv2d(paddle.to_tensor(image), weight, stride=2, padding=1).numpy()
    np.testing.assert_allclose(values["bn_conv1_mean"], x.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(values["bn_conv1_variance"], x.var(axis=(0, 2, 3)), rtol=1e-4)
