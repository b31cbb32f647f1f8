"""TPN beyond the goldens: configuration, schedule, optimizer, pyramids of two lengths, flows, inflation."""

import numpy as np
import paddle
import pytest
from paddle.nn.initializer import Constant

from engine.graph.device import Device
from engine.graph.program import Graph
from models import tpn
from models.layers import resnet
from models.layers.named import linear, parameter


def config(**sections):
    return tpn.TPN.config_class(**sections)


def forward(build, arrays, values=None, seed=1):
    """Initialise, set `values`, run {name: value} = build({name: placeholder}) on `arrays`. Returns {name: array}."""
    paddle.enable_static()
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        found = build({name: paddle.static.data(name, array.shape, "float32") for name, array in arrays.items()})
    device = Device()
    with paddle.static.scope_guard(device.scope):
        paddle.seed(seed)
        device.executor.run(startup)
        device.set(values or {})
        return dict(zip(found, device.executor.run(program, arrays, list(found.values())), strict=True)), device


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_configuration():
    assert config().MODEL.temporal_scales == [8, 8] and config().segments("test") == 1
    for keys, words in (
        ({"temporal_scales": [8, 4]}, "multiple"),
        ({"temporal_scales": [0, 8]}, "positive"),
        ({"num_layers": 152}, "50 or 101"),
        ({"flow": "down"}, "cascade"),
        ({"frame_rate": 2}, "frame_rate"),
    ):
        with pytest.raises(ValueError, match=words):
            config(MODEL=keys)


def test_rate_falls_at_the_listed_epochs():
    model = tpn.TPN(config(TRAIN={"learning_rate": 0.01, "epoch": 47}), "train")
    assert [model.rate(step, 10) for step in (0, 269, 270, 469)] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    model = tpn.TPN(config(TRAIN={"learning_rate": 0.01, "decay_epochs": [75, 125]}), "train")
    assert model.rate(1250, 10) == pytest.approx(1e-4)


class Mean(tpn.TPN):
    """TPN's inputs, loss and optimizer around two linear classifiers of the mean colour."""

    def network(self, inputs, training):
        x = paddle.mean(inputs["image"], axis=[1, 3, 4])
        logits, auxiliary = (linear(x, parameter(name, [x.shape[1], 4], Constant(0.1)), None) for name in "wv")
        return (logits, auxiliary) if training else logits


@pytest.mark.parametrize("bound", [0.0, 0.01])
def test_two_steps_of_the_optimizer(bound):
    train = {"l2_weight_decay": 0.1, "clip_norm": bound, "momentum": 0.9}
    model = Mean(config(MODEL={"seglen": 1, "num_classes": 4, "aux_loss_weight": 0.25}, TRAIN=train), "train")
    graph, device = Graph(model, raw=False, training=True, size=(4, 4)), Device()
    device.initialise(graph)
    feed = {"image": noise(2, 1, 3, 4, 4), "label": np.array([[1], [3]])}
    x, w, velocity = (
        feed["image"].mean(axis=(1, 3, 4)),
        {name: np.full((3, 4), 0.1) for name in "wv"},
        {"w": 0.0, "v": 0.0},
    )
    graph.rate.set(0.5)
    for _ in range(2):
        (loss,) = device.run(graph, feed, [graph.loss])
        gradients, wanted = {}, 0.0
        for name, weight in (("w", 1.0), ("v", 0.25)):
            scores = np.exp(x @ w[name]) / np.exp(x @ w[name]).sum(axis=1, keepdims=True)
            wanted -= weight * np.log(scores[[0, 1], [1, 3]]).mean()
            gradients[name] = weight * x.T @ (scores - np.eye(4)[[1, 3]]) / 2
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        for name, g in gradients.items():
            g = (g * min(1.0, bound / norm) if bound else g) + 0.1 * w[name]  # the bound first, then L2
            velocity[name] = 0.9 * velocity[name] + g
            w[name] = w[name] - 0.5 * (g + 0.9 * velocity[name])  # Nesterov
        assert float(loss) == pytest.approx(wanted, rel=1e-5)
        for name, value in device.get(w).items():
            np.testing.assert_allclose(value, w[name], rtol=1e-5)


def test_time_is_pooled_and_stretched():
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 12, 1, 1)
    found, _ = forward(
        lambda given: {
            "pooled": tpn.pool_time(given["x"], 8),
            "same": tpn.pool_time(given["x"], 1),
            "stretched": tpn.stretch_time(given["pair"], 4),
        },
        {"x": x, "pair": x[:, :, 5:7]},
    )
    assert found["pooled"].ravel().tolist() == [7, 11]  # the last window is short
    assert found["same"].tolist() == x.tolist()
    assert found["stretched"].ravel().tolist() == [5, 5, 6, 6]


def test_levels_of_different_length():
    """The deep variants keep twice as many steps on level 0; 12 frames leave 3 and 2 of them."""
    arrays = {"stage4": noise(1, 1024, 12, 2, 2), "stage5": noise(1, 2048, 12, 1, 1)}
    found, _ = forward(
        lambda given: {"out": tpn.neck(given["stage4"], given["stage5"], [4, 8], "cascade", False)}, arrays
    )
    assert found["out"].shape == (1, 2048, 2, 1, 1) and found["out"].std() > 0


@pytest.mark.parametrize("silent, equal", [(True, True), (False, False)])
def test_flows_differ_by_what_level_1_sends_down(silent, equal):
    arrays = {"stage4": noise(1, 1024, 8, 2, 2), "stage5": noise(1, 2048, 8, 1, 1)}
    values = {"TemporalModulation1_weights": np.zeros([1024, 64, 3, 1, 1], np.float32)} if silent else {}
    found, _ = forward(
        lambda given: {
            flow: tpn.neck(given["stage4"], given["stage5"], [8, 8], flow, False) for flow in ("cascade", "parallel")
        },
        arrays,
        values,
    )
    assert np.allclose(found["cascade"], found["parallel"], rtol=1e-5) == equal


def test_an_inflated_network_sees_a_still_clip_as_the_picture():
    """Nine temporal convolutions reach nine frames far, so the frame in the middle of 19 does not see the padding."""

    def picture(given):
        x = resnet.stem(given["picture"], False)
        for number, path in enumerate(resnet.block_names(50), start=2):
            x = resnet.stage(x, number, path, False)
        return {"picture": x}

    shapes = Graph(tpn.TPN(config(), "infer")).shapes
    shared = [name for name in shapes if not any(part in name for part in tpn.TPN.not_in_backbone)]
    image = noise(1, 3, 32, 32)
    flat, device = forward(picture, {"picture": image})
    weights = resnet.inflate(device.get(shared), shapes)
    deep, _ = forward(
        lambda given: {"clip": resnet.slow_features(given["clip"], 50, False)[1]},
        {"clip": np.repeat(image[:, :, None], 19, axis=2)},
        weights,
    )
    np.testing.assert_allclose(deep["clip"][:, :, 9], flat["picture"], rtol=1e-3, atol=1e-4 * flat["picture"].max())


def test_inflation_leaves_the_rest_alone():
    weights = {"a": noise(2, 3, 1, 1), "bn": noise(4), "other": noise(2, 3, 5, 5), "fc": noise(6, 7)}
    shapes = {"a": (2, 3, 3, 1, 1), "bn": (4,), "other": (2, 3, 1, 7, 7)}
    found = resnet.inflate(weights, shapes)
    assert found["a"].shape == (2, 3, 3, 1, 1) and found["a"].dtype == np.float32
    np.testing.assert_allclose(found["a"].sum(axis=2), weights["a"], rtol=1e-6)
    assert all(found[name] is weights[name] for name in ("bn", "other", "fc"))
