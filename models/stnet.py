"""StNet: Local and Global Spatial-Temporal Modeling for Action Recognition (He et al., AAAI 2019, arXiv 1811.01549).

`seglen` neighbouring frames are stacked into a super-image of 3*seglen channels for a 2-D ResNet (local motion);
temporal blocks after stages 3 and 4 and a temporal Xception block at the end relate the segments (global motion).
Names and odd details (ReLU before batch norm, counter-made names) are those of old zoo v1.3's weights.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Literal

import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import Constant, Uniform
from pydantic import Field

from models.base import Arrays, ClipModel, Tensor
from models.layers import resnet
from models.layers.named import classifier, convolve, counted_batch_norm, parameter
from models.names import mindspore
from utils.config.clips import ClipConfig, ClipModelSection, ClipTrainSection
from utils.errors import WeightsError


class StnetModelSection(ClipModelSection):
    renamed: ClassVar[dict] = {"class_num": "num_classes", "T": "seg_num", "N": "seglen"}  # MindSpore's
    edition: Literal["paddle", "mindspore"] = Field(
        "paddle",
        description="paddle, or mindspore (dense temporal convolutions, other padding); the weights' names tell",
    )


class StnetTrainSection(ClipTrainSection):
    renamed: ClassVar[dict] = {
        "num_epochs": "epoch",
        "lr": "learning_rate",
        "weight_decay": "l2_weight_decay",
        "gamma": "learning_rate_decay",
        "workers": "num_reader_threads",
    }


class StnetConfig(ClipConfig):
    MODEL: StnetModelSection = Field(default_factory=StnetModelSection)
    TRAIN: StnetTrainSection = Field(default_factory=StnetTrainSection)


def biased_conv(x: Tensor, name: str, channels: int, kernel: Sequence[int], groups: int = 1) -> Tensor:
    """Convolution over [N, C, T, 1] or [N, C, T, H, W] with bias `<name>.b_0`; MSRA-uniform weight; keeps the size."""
    fan_in = x.shape[1] // groups * math.prod(kernel)
    limit = math.sqrt(6.0 / fan_in)
    weight = parameter(f"{name}.w_0", [channels, x.shape[1] // groups, *kernel], Uniform(-limit, limit))
    bias = parameter(f"{name}.b_0", [channels], Constant(0.0))
    return convolve(x, weight, bias, groups=groups)


def temporal_block(x: Tensor, segments: int, conv: str, norm: str, training: bool) -> Tensor:
    """3x1x1 convolution over the segments with a residual: [B*T, C, H, W] -> same. ReLU comes *before* the norm."""
    _, channels, height, width = x.shape
    video = paddle.reshape(x, [-1, segments, channels, height, width])
    video = paddle.transpose(video, [0, 2, 1, 3, 4])  # [B, C, T, H, W]
    y = F.relu(biased_conv(video, conv, channels, kernel=(3, 1, 1)))
    video = video + counted_batch_norm(y, norm, training)
    video = paddle.transpose(video, [0, 2, 1, 3, 4])  # [B, T, C, H, W]
    return paddle.reshape(video, [-1, channels, height, width])


def temporal_xception(x: Tensor, training: bool, dense: bool = False) -> Tensor:
    """Separable convolutions over time with a projected shortcut: [B, C, T, 1] -> [B, C/2, T, 1]; C is 2048 or 512.

    `dense`: the temporal kernels see all channels, as in MindSpore's StNet.
    """
    width = x.shape[1] // 2
    x = counted_batch_norm(x, "xception_bn", training)
    y = biased_conv(x, "xception_att_conv", x.shape[1], kernel=(3, 1), groups=1 if dense else x.shape[1])
    y = biased_conv(y, "xception_att_2", width, kernel=(1, 1))
    y = F.relu(counted_batch_norm(y, "xception_bndw", training))
    y = biased_conv(y, "xception_att1", width, kernel=(3, 1), groups=1 if dense else width)
    y = biased_conv(y, "xception_att1_2", width, kernel=(1, 1))
    shortcut = biased_conv(x, "xception_dw", width, kernel=(1, 1))
    return F.relu(counted_batch_norm(shortcut + y, "xception_bn2", training))


def temporal_norms(depth: int) -> tuple[str, str]:
    """Names of the two temporal batch norms. The old zoo's counter also counted the named norms created before them."""
    stage2, stage3, stage4, _ = resnet.BLOCKS[depth]
    convolutions = len(resnet.block_kernels(depth))
    projections = 2 if depth >= 50 else 1  # in stages 2 and 3
    first = 1 + convolutions * (stage2 + stage3) + projections  # 1: the stem
    second = first + 1 + convolutions * stage4 + 1
    return f"batch_norm_{first}", f"batch_norm_{second}"


def pooled(image: Tensor, depth: int, training: bool, edition: str = "paddle") -> Tensor:
    """image [B, segments, 3*seglen, H, W], normalised RGB -> features [B, size/2]."""
    theirs = edition == "mindspore"
    _, segments, channels, height, width = image.shape
    norms = temporal_norms(depth)
    names2, names3, names4, names5 = resnet.block_names(depth)
    kernels, size = resnet.block_kernels(depth), resnet.feature_size(depth)
    x = resnet.stem(paddle.reshape(image, [-1, channels, height, width]), training, same=theirs)
    x = resnet.stage(x, 2, names2, training, kernels)
    x = resnet.stage(x, 3, names3, training, kernels)  # [B*T, size/4, H/8, W/8]
    x = temporal_block(x, segments, "conv3d_0", norms[0], training)
    x = resnet.stage(x, 4, names4, training, kernels)  # [B*T, size/2, H/16, W/16]
    x = temporal_block(x, segments, "conv3d_1", norms[1], training)
    x = resnet.pool(resnet.stage(x, 5, names5, training, kernels))  # [B*T, size]
    x = paddle.reshape(x, [-1, segments, size, 1])
    x = paddle.transpose(x, [0, 2, 1, 3])  # [B, size, T, 1]
    x = temporal_xception(x, training, dense=theirs)  # [B, size/2, T, 1]
    return paddle.max(x, axis=[2, 3])  # [B, size/2]


class STNET(ClipModel):
    name = "STNET"
    slug = "stnet"
    title = "StNet: super-images, temporal blocks and a temporal Xception head"
    config_class = StnetConfig
    head = ("fc_0",)
    not_in_backbone = ("fc_0", "batch_norm", "xception", "conv3d")

    of_weights = ("edition",)

    @classmethod
    def implied(cls, names: Collection[str]) -> dict[str, Any]:
        return {"edition": "mindspore"} if mindspore.is_stnet(names) else {}

    def translate(self, arrays: Arrays) -> Arrays:
        edition, depth = self.settings.edition, self.settings.num_layers
        if mindspore.is_stnet(arrays) and edition != "mindspore":
            raise WeightsError(
                f"these are weights of MindSpore's StNet, and MODEL.edition is '{edition}': the networks differ; "
                "set MODEL.edition to mindspore, or leave it out"
            )
        return mindspore.translated(arrays, depth, temporal_norms(depth))

    @property
    def width(self) -> int:
        return resnet.feature_size(self.settings.num_layers) // 2

    def embed(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        return pooled(inputs["image"], self.settings.num_layers, training, self.settings.edition)

    def classify(self, x: Tensor, training: bool) -> Tensor:
        return classifier(x, "fc_0", self.settings.num_classes, fan_in=2 * self.width)
