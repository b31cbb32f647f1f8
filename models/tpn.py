"""TPN: Temporal Pyramid Network (Yang et al., CVPR 2020, arXiv 2004.03548) on a slow-only ResNet.

Stages 4 and 5 are brought to one spatial size and to different tempos, exchange information downwards and upwards
through the pyramid, and are fused. Level 0 is the path of stage 4, level 1 that of stage 5. Names are those of the
Paddle reproduction of 2020, spelling included; models/names/tpn.py has those of other projects.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import Constant, Normal, XavierUniform
from pydantic import Field, field_validator

from models.base import Arrays, ClipModel, Shapes, Tensor, clips_first
from models.layers import resnet
from models.layers.named import conv_norm, convolve, linear, mean_over, parameter
from models.layers.resnet import FEATURES
from models.names import tpn as tpn_names
from utils.config.clips import ClipConfig, ClipEvalSection, ClipInferSection, ClipModelSection, ClipTrainSection

WIDTH = 1024  # channels of a level inside the pyramid


def unit(
    x: Tensor, name: str, channels: int, kernel: Sequence[int], training: bool, stride: int = 1, groups: int = 1
) -> Tensor:
    """Convolution, batch norm, ReLU. The neck is Xavier-uniform as the authors', the backbone MSRA-normal."""
    return F.relu(conv_norm(x, name, f"{name}_bn", channels, kernel, training, stride, groups, XavierUniform()))


def temporal_conv(x: Tensor, name: str, groups: int = 1) -> Tensor:
    """3x1x1 convolution to [N, 1024, T, H, W], without norm or ReLU."""
    weight = parameter(f"{name}_weights", [WIDTH, x.shape[1] // groups, 3, 1, 1], XavierUniform())
    return convolve(x, weight, groups=groups)


def pool_time(x: Tensor, steps: int) -> Tensor:
    """Maximum over each `steps` frames; the last window may be shorter: T -> ceil(T / steps)."""
    if steps == 1:
        return x
    return F.max_pool3d(x, kernel_size=(steps, 1, 1), stride=(steps, 1, 1), ceil_mode=True)


def stretch_time(x: Tensor, length: int) -> Tensor:
    """Repeat frames to `length` (nearest). Only pyramids whose levels keep different lengths need it."""
    _, _, frames, height, width = x.shape
    if frames == length:
        return x
    return F.interpolate(x, size=[length, height, width], mode="nearest", data_format="NCDHW")


def align_space(x: Tensor, training: bool) -> Tensor:
    """Stage 4 to the size and channels of stage 5: [N, 1024, T, 2h, 2w] -> [N, 2048, T, h, w]."""
    return unit(x, "SpatialModulation", FEATURES, (1, 3, 3), training, stride=2)


def set_tempo(x: Tensor, level: int, scale: int) -> Tensor:
    """[N, 2048, T, h, w] -> [N, 1024, T/scale, h, w]."""
    return pool_time(temporal_conv(x, f"TemporalModulation{level}", groups=32), scale)


def top_down(low: Tensor, high: Tensor) -> Tensor:
    """Level 0 after it received level 1."""
    return low + stretch_time(high, low.shape[2])


def bottom_up(low: Tensor, high: Tensor, ratio: int) -> Tensor:
    """Level 1 after it received level 0, whose steps are `ratio` times as many."""
    return high + pool_time(temporal_conv(low, "Downsamping"), ratio)


def fuse(low: Tensor, high: Tensor, name: str, ratio: int, training: bool) -> Tensor:
    """Both levels, reduced and concatenated: two of [N, 1024, ., h, w] -> [N, 2048, T/scale of level 1, h, w]."""
    low = unit(pool_time(low, ratio), f"{name}_downout", WIDTH, (1, 1, 1), training, groups=32)
    high = unit(high, f"{name}_topout", WIDTH, (1, 1, 1), training, groups=32)
    return unit(paddle.concat([low, high], axis=1), name, FEATURES, (1, 1, 1), training)


def neck(stage4: Tensor, stage5: Tensor, scales: Sequence[int], flow: str, training: bool) -> Tensor:
    """Outputs of the backbone -> [N, 2048, T/scales[1], h, w]; `scales` are the temporal strides of the two levels.

    With "cascade" the bottom-up path starts from the result of the top-down path, as for the released weights. With
    "parallel" both start from the same features, as in the paper's figure.
    """
    ratio = scales[1] // scales[0]
    low = set_tempo(align_space(stage4, training), 0, scales[0])
    high = set_tempo(stage5, 1, scales[1])
    received = top_down(low, high)
    down = fuse(received, high, "level_fusion_topdown", ratio, training)
    start = received if flow == "cascade" else low
    up = fuse(start, bottom_up(start, high, ratio), "level_fusion_downtop", ratio, training)
    return unit(paddle.concat([down, up], axis=1), "pyramid_fusion", FEATURES, (1, 1, 1), training)


def auxiliary_features(stage4: Tensor, training: bool) -> Tensor:
    """Stage 4 for the second classifier: [N, 1024, T, H/16, W/16] -> [N, 2048, T, H/32, W/32]."""
    return unit(stage4, "AuxHead", FEATURES, (1, 3, 3), training, stride=2)


def averaged(x: Tensor, clips: int) -> Tensor:
    """[B*clips, 2048, T, h, w] -> the mean over all but B [B, 2048]."""
    return mean_over(paddle.reshape(mean_over(x, [2, 3, 4]), [-1, clips, FEATURES]), [1])  # [B, 2048]


def head(x: Tensor, name: str, classes: int, dropout: float, training: bool) -> Tensor:
    """Features [B, 2048] -> logits [B, classes]."""
    x = F.dropout(x, dropout, training=training, mode="upscale_in_train")
    weight = parameter(f"{name}_fc_w", [FEATURES, classes], Normal(0.0, 0.01))
    return linear(x, weight, parameter(f"{name}_fc_b", [classes], Constant(0.0)))


def tpn(
    image: Tensor,
    classes: int,
    depth: int,
    scales: Sequence[int],
    flow: str,
    dropout: float,
    training: bool,
    auxiliary: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    """image [B, M, 3*T, H, W] of M clips each -> logits [B, classes]; with `auxiliary` a pair of such."""
    clips = image.shape[1]
    stage4, stage5 = resnet.slow_features(clips_first(image), depth, training)
    features = averaged(neck(stage4, stage5, scales, flow, training), clips)
    logits = head(features, "cls_head", classes, dropout, training)
    if not auxiliary:
        return logits
    auxiliary_input = averaged(auxiliary_features(stage4, training), clips)
    return logits, head(auxiliary_input, "AuxHead", classes, dropout, training)


class TPNSection(ClipModelSection):
    renamed: ClassVar[dict] = {"step": "frame_interval"}
    mp4_centre: ClassVar[str] = "clip"
    seg_num: int = Field(1, ge=1, description="clips per sample; their features are averaged before the classifier")
    seglen: int = Field(8, ge=1, description="frames per clip")
    frame_interval: int = Field(
        8, ge=1, description="distance of a clip's frames, in frames of the video (old name: step)"
    )
    resize: Literal["4:3", "keep_ratio", "squash"] = Field(
        "keep_ratio",
        description="keep_ratio, 4:3 (as for the zoo's older models), or squash (the whole frame becomes a square)",
    )
    num_layers: Literal[50, 101] = Field(50, description="depth of the ResNet: 50 or 101")
    temporal_scales: list[int] = Field(
        [8, 8], min_length=2, max_length=2, description="temporal strides of stages 4 and 5"
    )
    flow: Literal["cascade", "parallel"] = Field(
        "cascade", description="cascade (as for the released weights), or parallel"
    )
    aux_loss_weight: float = Field(
        0.5, ge=0, description="weight of the loss of the classifier on stage 4, which exists in training only"
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout before both classifiers")

    @field_validator("temporal_scales")
    @classmethod
    def _whole_ratio(cls, scales):
        if scales[0] < 1 or scales[1] < 1 or scales[1] % scales[0]:
            raise ValueError(
                "expected two positive numbers, the second a multiple of the first, for example [8, 8] or [4, 8]"
            )
        return scales


class TPNTrainSection(ClipTrainSection):
    renamed: ClassVar[dict] = {"gradient_clip_norm": "clip_norm"}
    learning_rate_decay: float = Field(0.1, gt=0, description="factor on the rate at each of decay_epochs")
    decay_epochs: list[int] = Field([27], description="epochs at whose start the rate falls")


class TPNEvalSection(ClipEvalSection):
    """The clips of a test are views of their own, not segments whose features are averaged."""

    renamed: ClassVar[dict] = {"seg_num": "num_clips"}
    seg_num: ClassVar[None] = None


class TPNInferSection(TPNEvalSection, ClipInferSection):
    pass


class TPNConfig(ClipConfig):
    MODEL: TPNSection = Field(default_factory=TPNSection)
    TRAIN: TPNTrainSection = Field(default_factory=TPNTrainSection)
    VALID: TPNEvalSection = Field(default_factory=TPNEvalSection)
    TEST: TPNEvalSection = Field(default_factory=TPNEvalSection)
    INFER: TPNInferSection = Field(default_factory=TPNInferSection)


class TPN(ClipModel):
    name = "TPN"
    slug = "tpn"
    title = "Temporal Pyramid Network: one clip, two tempos, fused downwards and upwards"
    nesterov = True
    config_class = TPNConfig
    head = ("cls_head_fc", "AuxHead_fc")
    not_in_backbone = (
        "SpatialModulation",
        "TemporalModulation",
        "Downsamping",
        "level_fusion",
        "pyramid_fusion",
        "AuxHead",
        "cls_head",
    )

    def translate(self, arrays: Arrays) -> Arrays:
        return tpn_names.translated(arrays, self.settings.num_layers)

    def adapt(self, arrays: Arrays, shapes: Shapes) -> tuple[Arrays, list[str]]:
        """Kernels of a 2-D network are inflated over time."""
        found = resnet.inflate(arrays, shapes)
        return found, [
            f"{name} {list(arrays[name].shape)} -> {list(found[name].shape)}"
            for name in found
            if found[name].shape != arrays[name].shape
        ]

    width = FEATURES

    def embed(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        image, settings = inputs["image"], self.settings
        stages = resnet.slow_features(clips_first(image), settings.num_layers, training)
        return averaged(neck(*stages, settings.temporal_scales, settings.flow, training), image.shape[1])

    def classify(self, x: Tensor, training: bool) -> Tensor:
        return head(x, "cls_head", self.settings.num_classes, self.settings.dropout, training)

    def network(self, inputs: dict[str, Tensor], training: bool) -> Tensor | tuple[Tensor, Tensor]:
        """In training, with the classifier on stage 4 besides."""
        settings = self.settings
        return tpn(
            inputs["image"],
            settings.num_classes,
            settings.num_layers,
            settings.temporal_scales,
            settings.flow,
            settings.dropout,
            training,
            auxiliary=training,
        )

    def loss(self, outputs: Tensor | tuple[Tensor, Tensor], label: Tensor) -> Tensor:
        """Mean cross entropy, in training plus `aux_loss_weight` times that of the classifier on stage 4."""
        if not isinstance(outputs, tuple):
            return super().loss(outputs, label)
        logits, auxiliary = outputs
        return super().loss(logits, label) + self.settings.aux_loss_weight * super().loss(auxiliary, label)

    def decays(self, step: int, steps_per_epoch: int) -> int:
        """The rate falls at each of `decay_epochs` (0.001 after epoch 27 of 47)."""
        return sum(step >= epoch * steps_per_epoch for epoch in self.config.TRAIN.decay_epochs)
