"""I3D and TSN on EfficientNet-Lite0: initial weights of a training, frozen parts, refused settings."""

import numpy as np
import pytest

from datareader.clips.transforms import CropResize
from engine.graph.program import Graph
from engine.weights import load as weights
from engine.weights import released
from models import find
from models.names import efficientnet as efficientnet_names
from support.forms import values
from utils.config import reading
from utils.errors import ConfigError

SIZES = {mode: {"short_size": 36, "target_size": 32} for mode in ("TRAIN", "VALID", "TEST", "INFER")}


def build(name, mode="train", **keys):
    sizes = {**SIZES, "TRAIN": {**SIZES["TRAIN"], "freeze": ["backbone"]}}
    return find(name)(find(name).config_class(MODEL={"num_classes": 5, "seg_num": 1, **keys}, **sizes), mode)


@pytest.mark.parametrize(
    "name, keys, head",
    [
        ("TSN", {"backbone": "efficientnet_lite0"}, {"fc_0.w_0", "fc_0.b_0"}),
        ("I3D", {"seglen": 8}, {"Logits_Conv3d_0c_1x1_w", "Logits_Conv3d_0c_1x1_b"}),
    ],
)
def test_a_frozen_backbone_leaves_the_classifier(name, keys, head):
    graph = Graph(build(name, **keys), training=True)
    assert {key for key, (_, trainable) in graph.parameters.items() if trainable} == head == set(graph.gradients)


def test_imagenet_weights_become_the_backbone_of_tsn():
    model = build("TSN", backbone="efficientnet_lite0")
    shapes = Graph(model).shapes
    theirs = values({name: shapes[ours] for name, ours in efficientnet_names.names().items()})
    source = {**theirs, "_fc.weight": np.zeros((1000, 1280)), "_bn0.num_batches_tracked": np.array(7)}
    assert weights.pretrained_rule(model) is weights.backbone
    found, report = weights.backbone(source, model, shapes)
    assert len(found) == len(theirs) == 245 and not report.missing and report.unexpected == ["_fc.weight"]


def test_kinetics_weights_become_all_of_i3d_but_another_classifier():
    model = build("I3D", seglen=8)
    shapes = Graph(model).shapes
    source = values({**shapes, "Logits_Conv3d_0c_1x1_w": (1024, 400), "Logits_Conv3d_0c_1x1_b": (400,)}, np.float16)
    assert weights.pretrained_rule(model) is weights.finetune and model.pretrained in released.BACKBONES
    found, report = weights.finetune(source, model, shapes)
    assert set(shapes) - set(found) == {"Logits_Conv3d_0c_1x1_w", "Logits_Conv3d_0c_1x1_b"} and report.reinitialised


def test_what_was_never_released_is_refused():
    with pytest.raises(ConfigError, match="TSN with backbone efficientnet_lite0 has no released weights"):
        weights.require(None, build("TSN", "infer", backbone="efficientnet_lite0"))
    with pytest.raises(ConfigError, match="released weights of I3D know 400 classes while MODEL.num_classes is '5'"):
        weights.require(None, build("I3D", "infer", seglen=8))
    with pytest.raises(ConfigError, match="unknown released weights 'I3DD'; did you mean 'I3D'?"):
        released.fetch_named("I3DD")
    with pytest.raises(ConfigError, match="backbone efficientnet_lite0 takes single frames; set seglen to 1"):
        keys = {"MODEL": {"backbone": "efficientnet_lite0", "seglen": 5}}
        reading.validate(find("TSN").config_class, keys, "wrong")


@pytest.mark.parametrize("width, height", [(64, 36), (30, 90), (32, 32)])
def test_squash_keeps_the_whole_frame(width, height):
    """Each corner of the frame is a corner of the square."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:8, :8], frame[:8, -8:], frame[-8:, :8] = 60, 120, 180
    frame[-8:, -8:] = 240
    for rng in (None, np.random.default_rng(1)):
        cut = CropResize(36, 32, resize="squash", rng=rng)(frame)
        corners = [int(cut[y, x, 0]) for y in (0, -1) for x in (0, -1)]
        assert cut.shape == (32, 32, 3) and sorted(corners) == pytest.approx([60, 120, 180, 240], abs=12)
