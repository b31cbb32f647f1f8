"""Sizes and costs agree with the published figures and with sums done by hand."""

import pytest

from engine import configuration
from engine.graph.summary import line, summary
from models import find
from support.tinynet import ZOO


def of(name, mode="infer", size=None, **keys):
    model = find(name)
    return summary(model(model.config_class(MODEL=keys), mode), size=size)


def resnet50(channels, side):
    """Multiply-adds of one picture, stage by stage, without the classifier."""
    total = channels * 49 * 64 * (side // 2) ** 2
    entering, side = 64, side // 4
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            before, side = side, side // 2 if stage and not block else side
            total += entering * width * before**2 + (9 * width * width + 4 * width * width) * side**2
            total += 0 if block else entering * 4 * width * side**2
            entering = 4 * width
    return total


def test_resnet50_by_hand_is_the_published_4_1_giga():
    assert resnet50(3, 224) == pytest.approx(4.09e9, rel=2e-3)


@pytest.mark.parametrize("seg_num, seglen", [(3, 1), (7, 5)])
def test_tsn(seg_num, seglen):
    found = of("TSN", seg_num=seg_num, seglen=seglen)
    assert found.multiply_adds == seg_num * resnet50(3 * seglen, 224) + 2048 * 400


def test_stnet():
    frames, t = resnet50(15, 224), 7
    temporal = 3 * t * (512**2 * 28**2 + 1024**2 * 14**2)
    xception = t * (3 * 2048 + 2048 * 1024 + 3 * 1024 + 1024 * 1024 + 2048 * 1024)
    assert of("STNET", seg_num=t, seglen=5).multiply_adds == t * frames + temporal + xception + 1024 * 400


@pytest.mark.parametrize(
    "size, keys, giga",
    [
        (None, {}, 50.28),
        ((256, 256), {}, 65.67),
        (None, {"seglen": 16, "temporal_scales": [16, 16]}, 99.6),
        (None, {"num_layers": 101, "temporal_scales": [4, 8]}, 94.1),
    ],
)
def test_tpn(size, keys, giga):
    assert of("TPN", size=size, **keys).multiply_adds == pytest.approx(giga * 1e9, rel=5e-4)


def test_parameters_and_the_auxiliary_classifier():
    infer, train = of("TPN"), of("TPN", "train")
    assert (infer.parameters, train.parameters) == (71_800_272, 91_498_336)
    assert train.multiply_adds - infer.multiply_adds == pytest.approx(7.40e9, rel=1e-3)
    deep = of("TPN", "train", num_layers=101, temporal_scales=[4, 8])
    assert deep.parameters == 119_403_360
    assert train.bytes == 4 * (91_498_336 + 81_792)  # running statistics are saved too
    assert str(infer).startswith("71,800,272 trained parameters, 50.28 G multiply-adds")


# For the shipped configurations: trained parameters, and the number with running statistics.
# (NEXTVLAD's file also has 1,024 constants.)
SIZES = {
    "AttentionCluster": (57_807_830, 57_807_830),
    "AttentionLSTM": (108_749_592, 108_749_592),
    "NEXTVLAD": (89_088_550, 89_170_982),
    "TSN": (24_327_632, 24_380_752),
    "STNET": (33_158_864, 33_223_248),
    "TPN": (71_800_272, 71_877_968),
    "I3D": (12_689_984, 12_704_544),
}


@pytest.mark.parametrize("model", ZOO.values(), ids=ZOO)
def test_every_model_has_its_published_size(model):
    _, config = configuration.configure(model.name)
    found = summary(model(config, "test"))
    assert (found.parameters, found.bytes // 4) == SIZES[model.name] and found.multiply_adds > 0
    assert line(model(config, "test")) == f"{model.name}, test: {found}"
