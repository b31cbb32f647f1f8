"""Tensors of a weight file are loaded, missing, unexpected, reshaped or re-initialised; errors for unfit files."""

import numpy as np
import pytest

from engine.configuration import configure
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.weights import load as weights
from models import find
from utils.errors import ConfigError, WeightsError


def graph_of(name, mode="infer", **keys):
    model_class = find(name)
    sizes = {section: {"short_size": 36, "target_size": 32} for section in ("TRAIN", "VALID", "TEST", "INFER")}
    model = model_class(model_class.config_class(MODEL={"num_classes": 3, "seg_num": 2, **keys}, **sizes), mode)
    return model, Graph(model)


def values(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def tsn():
    return graph_of("TSN")


@pytest.fixture(scope="module")
def stnet():
    return graph_of("STNET", seglen=5)


def test_strict_takes_everything(tsn):
    model, graph = tsn
    source = {**values(graph.shapes), "learning_rate": np.float32(0.1)}
    device = Device()
    device.initialise(graph)
    report = weights.load_into(weights.strict, device, graph, model, source)
    assert len(report.loaded) == report.wanted == 267 and report.unexpected == ["learning_rate"] and not report.missing
    np.testing.assert_array_equal(device.get(["fc_0.w_0"])["fc_0.w_0"], source["fc_0.w_0"])
    assert "loaded 267 of 267 tensors" in str(report)


def test_numbers_of_another_precision_are_converted_and_integers_refused(tsn):
    """Paddle would take the type of what it is given, and fail when the graph runs."""
    model, graph = tsn
    device = Device()
    device.initialise(graph)
    bias = np.array([0.1, 0.2, 0.3])
    for dtype in (np.float16, np.float64):
        device.set({"fc_0.b_0": bias.astype(dtype)})
        found = device.get(["fc_0.b_0"])["fc_0.b_0"]
        assert found.dtype == np.float32 and np.array_equal(found, bias.astype(dtype).astype(np.float32))
    with pytest.raises(WeightsError, match="'fc_0.b_0' holds numbers of type int8, the model wants float32"):
        device.set({"fc_0.b_0": np.zeros(3, np.int8)})


def test_numbers_that_are_not_finite_are_refused(tsn):
    """ReLU and softmax can make a confident answer of them."""
    model, graph = tsn
    source = values(graph.shapes)
    source["conv1_weights"][0, 0, 0, 0], source["fc_0.b_0"][0] = np.nan, np.inf
    for rule in (weights.strict, weights.finetune):
        with pytest.raises(
            WeightsError, match="2 tensors hold numbers that are not finite: conv1_weights, fc_0.b_0; take weights from"
        ):
            weights.load_into(rule, Device(), graph, model, source)


def test_strict_names_what_does_not_fit(tsn):
    model, graph = tsn
    source = values(graph.shapes)
    del source["bn_conv1_mean"]
    with pytest.raises(WeightsError, match="do not fit TSN: 1 missing: bn_conv1_mean"):
        weights.strict(source, model, graph.shapes)
    with pytest.raises(WeightsError, match=r"conv1_weights is \[64, 3, 3, 3\], the model wants \[64, 3, 7, 7\]"):
        weights.strict({**values(graph.shapes), "conv1_weights": np.zeros((64, 3, 3, 3))}, model, graph.shapes)
    with pytest.raises(WeightsError, match=r"another number of classes: fc_0.w_0 is \[2048, 400\]"):
        weights.strict({**values(graph.shapes), "fc_0.w_0": np.zeros((2048, 400))}, model, graph.shapes)
    with pytest.raises(WeightsError, match="none of their 1 tensors has a name this model knows"):
        weights.strict({"something": np.zeros(3)}, model, graph.shapes)


def test_weights_of_another_model_are_refused(tsn, stnet):
    with pytest.raises(WeightsError, match="do not fit STNET"):
        weights.finetune(values(tsn[1].shapes), stnet[0], stnet[1].shapes)


def test_finetune_starts_a_classifier_of_another_size_anew(tsn):
    model, graph = tsn
    source = {
        **values(graph.shapes),
        "fc_0.w_0": np.zeros((2048, 400), np.float32),
        "fc_0.b_0": np.zeros(400, np.float32),
    }
    found, report = weights.finetune(source, model, graph.shapes)
    assert report.reinitialised == ["fc_0.b_0 [400] -> [3]", "fc_0.w_0 [2048, 400] -> [2048, 3]"]
    assert not any(name.startswith("fc_0") for name in found) and len(found) == len(report.loaded) == 265


def test_backbone_leaves_the_rest_as_initialised(stnet):
    """The ImageNet file also has a classifier; StNet's temporal parts come from nowhere (old zoo v1.7 rule)."""
    model, graph = stnet
    imagenet = values(graph_of("TSN", num_classes=1000)[1].shapes)
    found, report = weights.backbone(imagenet, model, graph.shapes)
    assert len(found) == 265 and not report.missing
    assert not any(part in name for name in found for part in ("fc_0", "batch_norm", "xception", "conv3d"))


def test_conv1_is_inflated_for_super_images(stnet):
    """Every channel gets the mean colour filter / seglen, so a still picture gives the response of its grey mean."""
    model, graph = stnet
    imagenet = values(graph_of("TSN")[1].shapes)
    found, report = weights.backbone(imagenet, model, graph.shapes)
    expected = np.repeat(imagenet["conv1_weights"].mean(axis=1, keepdims=True) / 5, 15, axis=1)
    np.testing.assert_allclose(found["conv1_weights"], expected, rtol=1e-6)
    assert report.reshaped == ["conv1_weights [64, 3, 7, 7] -> [64, 15, 7, 7]"]


def test_tsn_with_several_frames_a_segment_takes_a_backbone_too():
    """Complaint 5: TSN with seglen=2 failed with a channel mismatch."""
    model, graph = graph_of("TSN", seglen=2)
    found, _ = weights.backbone(values(graph_of("TSN")[1].shapes), model, graph.shapes)
    assert found["conv1_weights"].shape == (64, 6, 7, 7)


def test_a_backbone_that_hardly_matches_is_refused(tsn):
    model, graph = tsn
    few = dict(list(values(graph.shapes).items())[:20])
    with pytest.raises(WeightsError, match="of TSN are in it; give ImageNet ResNet weights"):
        weights.backbone(few, model, graph.shapes)


def test_what_training_starts_from():
    """An empty --pretrain means "not set" in scripts, not "from scratch"."""
    model, config = configure("TSN", None, {"MODEL.num_layers": 101})
    for nothing in (None, ""):
        with pytest.raises(ConfigError, match="starts from an ImageNet ResNet-101, and only ResNet-50 was released"):
            weights.require_pretrained(nothing, model(config, "train"))
    assert weights.require_pretrained("None", model(config, "train")) is None
