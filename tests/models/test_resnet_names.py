"""torchvision's and paddle.vision's ResNets as backbones: every tensor is loaded, with any prefix before the names."""

import numpy as np
import pytest

from engine.graph.program import Graph
from engine.weights import load as weights
from models import find
from models.names.resnet import names, translated
from support.forms import values
from utils.errors import WeightsError


def shapes_of(name="TSN", depth=50, **keys):
    model_class = find(name)
    sizes = {mode: {"short_size": 36, "target_size": 32} for mode in ("TRAIN", "VALID", "TEST", "INFER")}
    model = model_class(
        model_class.config_class(MODEL={"num_classes": 3, "seg_num": 1, "num_layers": depth, **keys}, **sizes), "infer"
    )
    return model, Graph(model).shapes


def torchvision(shapes, depth, prefix=""):
    """{torchvision's name: value} of a model's backbone, with the classifier and counters of torchvision's files."""
    arrays = values({f"{prefix}{theirs}": shapes[ours] for theirs, ours in names(depth).items()})
    return {
        **arrays,
        f"{prefix}fc.weight": np.zeros((1000, 2048), np.float32),
        f"{prefix}fc.bias": np.zeros(1000, np.float32),
        f"{prefix}bn1.num_batches_tracked": np.array(7),
    }


@pytest.mark.parametrize(
    "depth, count, prefix", [(18, 100, ""), (34, 180, "module."), (50, 265, "backbone."), (101, 520, "module.")]
)
def test_every_tensor_of_a_backbone(depth, count, prefix):
    model, shapes = shapes_of(depth=depth)
    assert len(names(depth)) == count and set(names(depth).values()) == set(shapes) - {"fc_0.w_0", "fc_0.b_0"}
    source = torchvision(shapes, depth, prefix)
    found, report = weights.backbone(source, model, shapes)
    assert (
        not report.missing and len(found) == count and report.unexpected == [f"{prefix}fc.bias", f"{prefix}fc.weight"]
    )
    for theirs, ours in names(depth).items():
        assert found[ours] is source[prefix + theirs]


def test_by_hand():
    """Names as torchvision documents them."""
    table = names(50)
    assert table["conv1.weight"] == "conv1_weights" and table["bn1.running_var"] == "bn_conv1_variance"
    assert (
        table["layer1.0.downsample.0.weight"] == "res2a_branch1_weights"
        and table["layer1.0.downsample.1.bias"] == "bn2a_branch1_offset"
    )
    assert (
        table["layer3.5.conv2.weight"] == "res4f_branch2b_weights"
        and table["layer4.2.bn3.running_mean"] == "bn5c_branch2c_mean"
    )
    assert names(18)["layer4.1.conv2.weight"] == "res5b_branch2b_weights"
    assert names(34)["layer2.0.downsample.0.weight"] == "res3a_branch1_weights"
    assert "layer1.0.downsample.0.weight" not in names(18)
    assert names(101)["layer3.22.conv1.weight"] == "res4b22_branch2a_weights"


@pytest.mark.parametrize("depth, count", [(18, 100), (50, 265)])
def test_stnet_takes_it_too(depth, count):
    _, tsn = shapes_of(depth=depth)
    model, shapes = shapes_of("STNET", depth, seglen=5)
    found, report = weights.backbone(torchvision(tsn, depth), model, shapes)
    assert len(found) == count and found["conv1_weights"].shape == (64, 15, 7, 7) and report.reshaped


def test_paddle_vision_has_torchvisions_names_but_for_the_statistics():
    model, shapes = shapes_of(depth=18)
    endings = {"running_mean": "_mean", "running_var": "_variance"}
    source = {
        ".".join([endings.get(word, word) for word in name.split(".")]): value
        for name, value in torchvision(shapes, 18).items()
    }
    assert "layer4.1.bn2._variance" in source
    found, report = weights.backbone(source, model, shapes)
    assert len(found) == 100 and not report.missing
    np.testing.assert_array_equal(found["bn5b_branch2b_variance"], source["layer4.1.bn2._variance"])


def test_a_resnet_18_with_another_first_block_is_refused():
    model, shapes = shapes_of(depth=18)
    source = {**values(shapes), "res2a_branch1_weights": np.zeros((64, 64, 1, 1), np.float32)}
    with pytest.raises(WeightsError, match="'res2a_branch1_weights': .* give torchvision's or paddle.vision's"):
        weights.backbone(source, model, shapes)


def test_other_networks_are_left_alone():
    arrays = {"layer1.0.conv1.weight": np.zeros((64, 64, 3, 3)), "fc.weight": np.zeros((1000, 512))}  # as ResNet-18's
    assert translated(arrays) == arrays and translated({"a": 1}) == {"a": 1}
    model, shapes = shapes_of()
    with pytest.raises(WeightsError, match="none of their 2 tensors has a name this model knows"):
        weights.backbone(arrays, model, shapes)
