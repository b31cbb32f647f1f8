"""Fine-tuning keys: what is frozen stays bit for bit, rates are multiplied, rare classes weigh more."""

import numpy as np
import paddle
import pytest

from datareader.clips.balance import balanced
from datareader.lists import Item
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.trainer import Trainer
from models import find
from models.layers.options import Tuning
from support import tiny
from utils.errors import ConfigError, DataError

SIZES = {section: {"short_size": 36, "target_size": 32} for section in ("TRAIN", "VALID", "TEST", "INFER")}


def model_with(name="TSN", class_weights=(), **train):
    model_class = find(name)
    keys = {"num_classes": 3, "seg_num": 2}
    model = model_class(
        model_class.config_class(MODEL=keys, **{**SIZES, "TRAIN": {**SIZES["TRAIN"], **train}}), "train"
    )
    model.class_weights = class_weights
    return model


def train(model, steps=1, rate=0.1):
    """({name: array} before, after, losses) of a few steps on noise. L2 pulls at every trained parameter."""
    graph, device = Graph(model, training=True), Device()
    device.initialise(graph, seed=1)
    before = device.get(graph.parameters)
    graph.rate.set(rate)
    rng = np.random.default_rng(0)
    feed = {"frames": rng.integers(0, 256, (3, 2, 32, 32, 3), np.uint8), "label": np.array([[0], [1], [2]])}
    losses = [float(device.run(graph, feed, [graph.loss])[0]) for _ in range(steps)]
    return before, device.get(graph.parameters), losses


def changed(before, after):
    return {name for name in before if not np.array_equal(before[name], after[name])}


@pytest.fixture(scope="module")
def plain():
    return train(model_with(l2_weight_decay=0.1))


def test_a_frozen_backbone_stays_bit_for_bit():
    before, after, losses = train(model_with(freeze="backbone", l2_weight_decay=0.1), steps=3, rate=1e-6)
    assert changed(before, after) == {"fc_0.w_0", "fc_0.b_0"} and losses[2] < losses[0]


def test_frozen_layers_keep_their_statistics_and_the_rest_trains(plain):
    prefixes = ("conv1", "bn_conv1", "res2", "bn2")
    before, after, _ = train(model_with(freeze=prefixes, l2_weight_decay=0.1))
    frozen = {name for name in before if name.startswith(prefixes)}
    assert len(frozen) == 55 and changed(before, after) == changed(*plain[:2]) - frozen == set(before) - frozen


def test_fixed_batch_norms_keep_their_statistics_and_train_their_scales(plain):
    before, after, _ = train(model_with(freeze_bn=True, l2_weight_decay=0.1))
    statistics = {name for name in before if name.endswith(("_mean", "_variance"))}
    assert len(statistics) == 106 and changed(before, after) == set(before) - statistics
    assert changed(*plain[:2]) == set(before)


def test_multipliers_scale_the_rate_of_parameters_by_prefix(plain):
    before, after, _ = train(
        model_with(lr_multipliers={"backbone": 0.5, "res5": 0.25, "fc_0": 2, "conv1": 0}, l2_weight_decay=0.1)
    )
    for name, factor in (
        ("res2a_branch2a_weights", 0.5),
        ("bn3b_branch2c_scale", 0.5),
        ("res5a_branch1_weights", 0.25),
        ("fc_0.w_0", 2),
    ):
        step = plain[1][name] - plain[0][name]
        np.testing.assert_allclose(after[name] - before[name], factor * step, rtol=1e-3, atol=1e-3 * np.abs(step).max())
    assert "conv1_weights" not in changed(before, after)


@pytest.mark.parametrize("smoothing, over", [(0.0, "all"), (0.3, "all"), (0.3, "others")])
def test_class_weights_scale_the_loss_of_their_samples(smoothing, over):
    """The logits are far apart as well: Paddle's log_softmax would stop at -64."""
    logits, labels, weights = np.array([[1, 202, 0], [0, 1, 3], [2, 2, 1]], np.float64), [0, 1, 2], [3.0, 0.0, 0.5]
    share = np.full((3, 3), smoothing / 3) if over == "all" else (1 - np.eye(3)[labels]) * smoothing / 2
    target = np.eye(3)[labels] * (1 - smoothing) + share
    losses = -(target * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1)
    paddle.enable_static()
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        model = model_with(class_weights=weights, label_smoothing=smoothing, smoothing_over=over)
        loss = model.loss(paddle.static.data("logits", [None, 3], "float32"), model.label())
    feed = {"logits": logits.astype(np.float32), "label": np.array(labels).reshape(3, 1)}
    (found,) = paddle.static.Executor(paddle.CPUPlace()).run(program, feed, [loss])
    assert float(found) == pytest.approx(np.dot(weights, losses) / 3, rel=1e-5)


def test_balanced_weights_are_inverse_to_the_share_of_a_class():
    model = model_with()
    items = [Item("a", label, f"{i}.mp4") for i, label in enumerate([0] * 6 + [1] * 2)]
    weights = balanced(items, model.config)
    assert weights[:2] == [8 / 2 / 6, 8 / 2 / 2] and np.mean([weights[item.label] for item in items]) == pytest.approx(
        1
    )
    with pytest.raises(DataError, match="'x.pkl' has none there"):
        balanced([*items, Item("x.pkl", None, "x.pkl")], model.config)


def test_the_longest_prefix_counts():
    tuning = Tuning(
        freeze=("a.b",), multipliers={"backbone": 2, "a": 3, "a.c": 4}, in_backbone=lambda name: name != "head"
    )
    assert [tuning.rate(name) for name in ("a.b.c", "a.c", "a.d", "z", "head")] == [0, 4, 3, 2, 1]
    assert Tuning(freeze=("x", "a")).unused(["ab", "b"]) == ["x"]


@pytest.mark.parametrize(
    "train_keys, message",
    [
        ({"freeze": ["res2", "rse3"]}, "'rse3': no TSN parameter name starts with this"),
        ({"lr_multipliers": {"fc_1": 10}}, "'fc_1': no TSN parameter name starts with this"),
        ({"freeze": ["backbone", "fc_0"]}, "leaves no parameter of TSN to train"),
    ],
)
def test_mistakes_are_named(train_keys, message, tmp_path):
    filelist = tiny.make_clips(tmp_path, count=2)
    model = model_with(filelist=str(filelist), batch_size=1, **train_keys)
    model.config.MODEL.format = "mp4"
    with pytest.raises(ConfigError, match=message):
        Trainer(type(model), model.config, valid_interval=0)
    with pytest.raises(ConfigError, match="--patience '2' needs validation scores"):
        Trainer(type(model), model.config, valid_interval=0, patience=2)
