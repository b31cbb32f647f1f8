"""I3D: Inception-v1 inflated over time (Carreira and Zisserman, CVPR 2017, arXiv 1705.07750), on RGB.

All convolutions and max pools are padded as TensorFlow's "same". Units have the names of the paper's code, `_` for `/`:
Mixed_3b_Branch_1_Conv3d_0a_1x1_weights, ..._bn_offset, ..._bn_mean, ..._bn_variance. Batch norms have no scale.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import Constant, KaimingNormal, Normal
from pydantic import Field

from models.base import Arrays, ClipModel, Tensor, clips_first
from models.layers import options
from models.layers.named import batch_norm, folded_bias, linear, mean_over, parameter
from models.names import i3d as i3d_names
from utils.config.clips import ClipConfig, ClipEvalSection, ClipInferSection, ClipModelSection

EPSILON = 1e-3  # of its batch norms
FEATURES = 1024  # channels of Mixed_5c


class Mixed(NamedTuple):
    """Channels of an Inception block: 1x1; 1x1 then 3x3; 1x1 then 3x3; 1x1 behind a max pool."""

    branch0: int
    branch1: tuple[int, int]
    branch2: tuple[int, int]
    branch3: int


MIXED = {
    "Mixed_3b": Mixed(64, (96, 128), (16, 32), 32),
    "Mixed_3c": Mixed(128, (128, 192), (32, 96), 64),
    "Mixed_4b": Mixed(192, (96, 208), (16, 48), 64),
    "Mixed_4c": Mixed(160, (112, 224), (24, 64), 64),
    "Mixed_4d": Mixed(128, (128, 256), (24, 64), 64),
    "Mixed_4e": Mixed(112, (144, 288), (32, 64), 64),
    "Mixed_4f": Mixed(256, (160, 320), (32, 128), 128),
    "Mixed_5b": Mixed(256, (160, 320), (32, 128), 128),
    "Mixed_5c": Mixed(384, (192, 384), (48, 128), 128),
}


def unit(x: Tensor, name: str, channels: int, kernel: int, training: bool, stride: int = 1) -> Tensor:
    """Cubic convolution over [N, C, T, H, W], batch norm without scale, ReLU."""
    weight = parameter(f"{name}_weights", [channels, x.shape[1], *[kernel] * 3], KaimingNormal())
    norm = None, f"{name}_bn_offset", f"{name}_bn_mean", f"{name}_bn_variance"
    bias = folded_bias(f"{name}_weights", channels, *norm, epsilon=EPSILON)
    y = F.conv3d(x, weight, bias, stride=stride, padding="SAME")
    return F.relu(y if bias is not None else batch_norm(y, *norm, training=training, epsilon=EPSILON))


def max_pool(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Maximum over windows, padded as TensorFlow's "same"."""
    kernel, stride = list(kernel), list(stride)
    if not options.current().portable:
        return F.max_pool3d(x, kernel_size=kernel, stride=stride, padding="SAME")
    # paddle2onnx shrinks kernels that are larger than the input, and fills F.pad with an uninitialised value.
    # Zeros do not change a maximum: nothing is negative.
    for axis, (size, width, step) in enumerate(zip(x.shape[2:], kernel, stride, strict=True), start=2):
        total = max((-(-size // step) - 1) * step + width - size, 0)
        x = surrounded(x, axis, total // 2, total - total // 2)
    return F.max_pool3d(x, kernel_size=kernel, stride=stride, padding=0)


def surrounded(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """`x` with that many slices of zeros along an axis. A slice of `x` gives their shape, whatever the batch is."""
    empty = paddle.zeros_like(paddle.slice(x, [axis], [0], [1]))
    parts = [*[empty] * before, x, *[empty] * after]
    return paddle.concat(parts, axis=axis) if len(parts) > 1 else x


def mixed(x: Tensor, name: str, training: bool) -> Tensor:
    """Inception block: four branches, concatenated."""
    channels = MIXED[name]
    outputs = [unit(x, f"{name}_Branch_0_Conv3d_0a_1x1", channels.branch0, 1, training)]
    for number, (reduced, wide) in ((1, channels.branch1), (2, channels.branch2)):
        y = unit(x, f"{name}_Branch_{number}_Conv3d_0a_1x1", reduced, 1, training)
        outputs.append(unit(y, f"{name}_Branch_{number}_Conv3d_0b_3x3", wide, 3, training))
    pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
    outputs.append(unit(pooled, f"{name}_Branch_3_Conv3d_0b_1x1", channels.branch3, 1, training))
    return paddle.concat(outputs, axis=1)


def features(x: Tensor, training: bool) -> Tensor:
    """Clips [N, 3, T, H, W] in -1..1 -> Mixed_5c [N, 1024, T/8, H/32, W/32], sizes rounded up."""
    x = unit(x, "Conv3d_1a_7x7", 64, 7, training, stride=2)
    x = max_pool(x, (1, 3, 3), (1, 2, 2))
    x = unit(x, "Conv3d_2b_1x1", 64, 1, training)
    x = unit(x, "Conv3d_2c_3x3", 192, 3, training)
    x = max_pool(x, (1, 3, 3), (1, 2, 2))
    for name in MIXED:
        if name == "Mixed_4b":
            x = max_pool(x, (3, 3, 3), (2, 2, 2))
        if name == "Mixed_5b":
            x = max_pool(x, (2, 2, 2), (2, 2, 2))
        x = mixed(x, name, training)
    return x


def pool(x: Tensor) -> Tensor:
    """[N, 1024, T, H, W] -> [N, 1024]: windows of 2 x 7 x 7 (or smaller inputs whole), then the mean over all windows.

    Overlapping windows weigh the first and last step less than the others; released weights were trained so.
    """
    window = [min(size, wanted) for size, wanted in zip(x.shape[2:], (2, 7, 7), strict=True)]
    return mean_over(F.avg_pool3d(x, kernel_size=window, stride=1, padding=0), [2, 3, 4])


def pooled(image: Tensor, training: bool) -> Tensor:
    """image [B, M, 3*T, H, W] of M clips each -> their mean features [B, 1024]."""
    clips = image.shape[1]
    x = pool(features(clips_first(image), training))
    return mean_over(paddle.reshape(x, [-1, clips, FEATURES]), [1])  # [B, 1024]


def head(x: Tensor, classes: int, dropout: float, training: bool) -> Tensor:
    """Features [B, 1024] -> logits [B, classes]."""
    x = F.dropout(x, dropout, training=training, mode="upscale_in_train")
    weight = parameter(f"{i3d_names.HEAD}_w", [FEATURES, classes], Normal(0.0, 0.01))
    return linear(x, weight, parameter(f"{i3d_names.HEAD}_b", [classes], Constant(0.0)))


class I3DSection(ClipModelSection):
    mp4_centre: ClassVar[str] = "clip"
    seg_num: int = Field(1, ge=1, le=10**4, description="clips per sample; their features are averaged")
    seglen: int = Field(64, ge=1, le=10**4, description="frames per clip")
    num_layers: ClassVar[None] = None
    resize: Literal["4:3", "keep_ratio", "squash"] = Field(
        "keep_ratio",
        description="keep_ratio, 4:3 (as for the zoo's older models), or squash (the whole frame becomes a square)",
    )
    image_mean: list[float] = Field([0.5] * 3, min_length=3, max_length=3, description="RGB mean on a 0..1 scale")
    image_std: list[float] = Field([0.5] * 3, min_length=3, max_length=3, description="RGB deviation on a 0..1 scale")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout before the classifier")


class I3DEvalSection(ClipEvalSection):
    """The clips of a test are views of their own, not segments whose features are averaged."""

    seg_num: ClassVar[None] = None


class I3DInferSection(I3DEvalSection, ClipInferSection):
    pass


class I3DConfig(ClipConfig):
    MODEL: I3DSection = Field(default_factory=I3DSection)
    VALID: I3DEvalSection = Field(default_factory=I3DEvalSection)
    TEST: I3DEvalSection = Field(default_factory=I3DEvalSection)
    INFER: I3DInferSection = Field(default_factory=I3DInferSection)


class I3D(ClipModel):
    name = "I3D"
    slug = "i3d"
    title = "I3D: Inception-v1 inflated over time"
    config_class = I3DConfig
    head = (i3d_names.HEAD,)
    not_in_backbone = (i3d_names.HEAD,)
    pretrained_whole = True

    @property
    def pretrained(self) -> str:
        return self.name

    def translate(self, arrays: Arrays) -> Arrays:
        return i3d_names.translated(arrays)

    width = FEATURES

    def embed(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        return pooled(inputs["image"], training)

    def classify(self, x: Tensor, training: bool) -> Tensor:
        return head(x, self.settings.num_classes, self.settings.dropout, training)
