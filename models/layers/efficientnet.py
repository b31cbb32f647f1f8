"""EfficientNet-Lite0 (Tan and Le, ICML 2019, arXiv 1905.11946; the "lite" edition of 2020) as a backbone on pictures.

Differences from EfficientNet-B0: no squeeze-and-excitation, ReLU6 instead of swish, and a stem and head of fixed width.
Parameters are called stem_*, block<i>_{expand,depthwise,project}_* and top_*; models/names/efficientnet.py
has the names of the released weights.
"""

from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import KaimingNormal

from models.layers.named import batch_norm, folded_bias, named_norm, parameter

FEATURES = 1280  # channels after the last convolution
EPSILON = 1e-3  # of its batch norms
STEM = 32

Tensor = paddle.Tensor


class Block(NamedTuple):
    """One inverted residual block."""

    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int


# (repeats, kernel, stride of the first, expansion, channels in, channels out)
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


def blocks() -> list[Block]:
    """The 16 blocks in order."""
    found = []
    for repeats, kernel, stride, expansion, inputs, outputs in _STAGES:
        found.append(Block(kernel, stride, expansion, inputs, outputs))
        found += [Block(kernel, 1, expansion, outputs, outputs)] * (repeats - 1)
    return found


def unit(x: Tensor, name: str, channels: int, kernel: int, training: bool, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution `<name>_weights`, padded as TensorFlow's "same", and batch norm `<name>_bn_*`, no activation."""
    weight = parameter(f"{name}_weights", [channels, x.shape[1] // groups, kernel, kernel], KaimingNormal())
    norm = named_norm(f"{name}_bn")
    bias = folded_bias(f"{name}_weights", channels, *norm, epsilon=EPSILON)
    y = F.conv2d(x, weight, bias, stride=stride, padding="SAME", groups=groups)
    return y if bias is not None else batch_norm(y, *norm, training=training, epsilon=EPSILON)


def inverted_residual(x: Tensor, name: str, block: Block, training: bool) -> Tensor:
    """1x1 expansion, depthwise convolution, 1x1 projection without activation; residual where the shape stays."""
    y, width = x, block.inputs * block.expansion
    if block.expansion > 1:
        y = F.relu6(unit(y, f"{name}_expand", width, 1, training))
    y = F.relu6(unit(y, f"{name}_depthwise", width, block.kernel, training, block.stride, groups=width))
    y = unit(y, f"{name}_project", block.outputs, 1, training)
    return x + y if block.stride == 1 and block.inputs == block.outputs else y


def features(x: Tensor, training: bool) -> Tensor:
    """Images [N, 3, H, W] in about -1..1 -> pooled features [N, 1280]."""
    x = F.relu6(unit(x, "stem", STEM, 3, training, stride=2))
    for i, block in enumerate(blocks()):
        x = inverted_residual(x, f"block{i}", block, training)
    x = F.relu6(unit(x, "top", FEATURES, 1, training))
    return paddle.flatten(F.adaptive_avg_pool2d(x, 1), start_axis=1)
