"""Weights of other projects in TPN: the authors' and mmaction2's names, and a 2-D ImageNet backbone."""

import numpy as np
import pytest

from engine.graph.program import Graph
from engine.weights import load as weights
from models.layers import resnet
from models.names import tpn as tpn_names
from models.tpn import TPN

SIZES = {"short_size": 32, "target_size": 32}


@pytest.fixture(scope="module")
def model():
    return TPN(TPN.config_class(MODEL={"num_classes": 5}, TRAIN=SIZES, VALID=SIZES, TEST=SIZES, INFER=SIZES), "test")


@pytest.fixture(scope="module")
def shapes(model):
    return Graph(model).shapes


def arrays(shapes):
    """Arrays without content: of these shapes, and each unlike the others."""
    return {name: np.broadcast_to(np.float32(i), shape) for i, (name, shape) in enumerate(shapes.items())}


@pytest.mark.parametrize("spelling", [0, 1], ids=["authors", "mmaction2"])
def test_other_spellings_load_strictly(model, shapes, spelling):
    ours = arrays(shapes)
    table = tpn_names.names()
    theirs = {table[name][spelling]: array.T if table[name][2] else array for name, array in ours.items()}
    assert not set(theirs) & set(ours) and theirs["cls_head.fc_cls.weight"].shape == (5, 2048)
    values, report = weights.strict({**theirs, "backbone.bn1.num_batches_tracked": np.int64(7)}, model, shapes)
    assert report.unexpected == ["backbone.bn1.num_batches_tracked"] and not report.missing
    assert all(
        values[name].shape == array.shape and values[name].flat[0] == array.flat[0] for name, array in ours.items()
    )


def flat(shapes):
    """The 2-D network's parameters, under Paddle's names."""
    return {
        name: np.ones((*shape[:2], *shape[3:]) if len(shape) == 5 else shape, np.float32)
        for name, shape in shapes.items()
        if TPN.in_backbone(name)
    }


def test_an_image_backbone_is_inflated_over_time(model, shapes):
    values, report = weights.backbone({**flat(shapes), "fc_0.w_0": np.ones((2048, 1000), np.float32)}, model, shapes)
    assert set(values) == {name for name in shapes if TPN.in_backbone(name)} and report.unexpected == ["fc_0.w_0"]
    assert len(report.reshaped) == 53 and "conv1_weights [64, 3, 7, 7] -> [64, 3, 1, 7, 7]" in report.reshaped
    assert values["conv1_weights"].shape == (64, 3, 1, 7, 7) and (values["conv1_weights"] == 1).all()
    assert values["res4a_branch2a_weights"].shape == (256, 512, 3, 1, 1)
    np.testing.assert_allclose(values["res4a_branch2a_weights"], 1 / 3, rtol=1e-6)
    assert (values["bn4a_branch2a_variance"] == 1).all()


def test_stacked_frames_take_an_image_conv1():
    conv1 = np.random.default_rng(0).standard_normal((2, 3, 7, 7)).astype(np.float32)
    found, reshaped = resnet.inflate_conv1({"conv1_weights": conv1, "other": conv1}, {"conv1_weights": (2, 15, 7, 7)})
    np.testing.assert_allclose(found["conv1_weights"].sum(axis=1), conv1.mean(axis=1) * 3, rtol=1e-5)
    assert found["other"] is conv1 and reshaped == ["conv1_weights [2, 3, 7, 7] -> [2, 15, 7, 7]"]
    for shape in ((2, 3, 7, 7), (2, 16, 7, 7)):
        assert resnet.inflate_conv1({"conv1_weights": conv1}, {"conv1_weights": shape}) == (
            {"conv1_weights": conv1},
            [],
        )
