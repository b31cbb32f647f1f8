"""ResNet-18/34/50/101/152 (He et al., CVPR 2016) on pictures, and the slow-only ResNet on clips (TPN, CVPR 2020).

Parameters have the old zoo's names: res2a_branch2a_weights, bn2a_branch2a_scale, ... The stride of a block sits in its
first 3x3 convolution. The stages are separate functions, because StNet puts temporal blocks between them.

The network on clips is the one on pictures with other kernels (`slow_kernels`): time is never strided or pooled.
The names are the same, so that ImageNet weights carry over through `inflate`.
"""

from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F

from models.layers.named import conv_norm

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
FEATURES = 2048  # channels after the last stage of 50 layers and more

STEM, SLOW_STEM = (7, 7), (1, 7, 7)
BOTTLENECK = ((1, 1), (3, 3), (1, 1))  # kernels of a block's three convolutions
BASIC = ((3, 3), (3, 3))  # and of the two in a block of ResNet-18 and -34

Tensor = paddle.Tensor
Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def slow_kernels(stage: int) -> Sequence[Sequence[int]]:
    """Kernels of a block on clips: the first convolution of stages 4 and 5 spans three frames, all others one."""
    frames = 3 if stage >= 4 else 1
    return (frames, 1, 1), (1, 3, 3), (1, 1, 1)


def feature_size(depth: int) -> int:
    """Channels after the last stage."""
    return FEATURES if depth >= 50 else 512


def block_kernels(depth: int) -> Sequence[Sequence[int]]:
    """Kernels of a block's convolutions on pictures."""
    return BOTTLENECK if depth >= 50 else BASIC


def block_names(depth: int) -> list[list[str]]:
    """[[names of stage 2], ..., [names of stage 5]]; deep nets number the blocks of stage 4: 4a, 4b1, 4b2, ..."""

    def name(stage: int, i: int) -> str:
        numbered = depth > 50 and stage == 4 and i > 0
        return f"{stage}b{i}" if numbered else f"{stage}{chr(ord('a') + i)}"

    return [[name(stage, i) for i in range(n)] for stage, n in enumerate(BLOCKS[depth], start=2)]


def stem(x: Tensor, training: bool, kernel: Sequence[int] = STEM, same: bool = False) -> Tensor:
    """[N, C, H, W] -> [N, 64, H/4, W/4]; with SLOW_STEM [N, C, T, H, W] -> [N, 64, T, H/4, W/4].

    `same`: the pool of the 2-D network is padded as MindSpore's is, at the end only where sizes are even.
    """
    x = F.relu(conv_norm(x, "conv1", "bn_conv1", 64, kernel, training, stride=2))
    if len(kernel) == 2:
        return F.max_pool2d(x, kernel_size=3, stride=2, padding="SAME" if same else 1)
    return F.max_pool3d(x, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))


def block(
    x: Tensor,
    name: str,
    width: int,
    stride: int,
    training: bool,
    kernels: Sequence[Sequence[int]] = BOTTLENECK,
) -> Tensor:
    """Convolutions with these kernels, plus a shortcut, which is projected when the shape changes.

    Three: to `width`, `width` (carries the stride) and 4 x `width` channels. Two: both to `width`, the first strided.
    """

    def unit(x: Tensor, branch: str, channels: int, kernel: Sequence[int], stride: int = 1) -> Tensor:
        return conv_norm(x, f"res{name}_branch{branch}", f"bn{name}_branch{branch}", channels, kernel, training, stride)

    if len(kernels) == 2:
        channels, last = width, (1, 1)
        y = F.relu(unit(x, "2a", width, kernels[0], stride))
        y = unit(y, "2b", width, kernels[1])
    else:
        channels, last = 4 * width, kernels[2]
        y = F.relu(unit(x, "2a", width, kernels[0]))
        y = F.relu(unit(y, "2b", width, kernels[1], stride))
        y = unit(y, "2c", channels, last)
    if stride > 1 or x.shape[1] != channels:
        x = unit(x, "1", channels, last, stride)
    return F.relu(x + y)


def stage(
    x: Tensor,
    number: int,
    names: Sequence[str],
    training: bool,
    kernels: Sequence[Sequence[int]] = BOTTLENECK,
) -> Tensor:
    """Stage `number` (2..5) with the blocks `names`: the first halves the resolution, except in stage 2."""
    for i, name in enumerate(names):
        stride = 2 if i == 0 and number > 2 else 1
        x = block(x, name, 64 * 2 ** (number - 2), stride, training, kernels)
    return x


def pool(x: Tensor) -> Tensor:
    """Global average: [N, C, H, W] -> [N, C]."""
    return paddle.flatten(F.adaptive_avg_pool2d(x, 1), start_axis=1)


def features(x: Tensor, depth: int, training: bool) -> Tensor:
    """Images [N, C, H, W] -> pooled features [N, 2048], or [N, 512] with 18 or 34 layers."""
    x = stem(x, training)
    for number, names in enumerate(block_names(depth), start=2):
        x = stage(x, number, names, training, block_kernels(depth))
    return pool(x)


def slow_features(x: Tensor, depth: int, training: bool) -> tuple[Tensor, Tensor]:
    """Clips [N, 3, T, H, W] -> outputs of stages 4 and 5: [N, 1024, T, H/16, W/16] and [N, 2048, T, H/32, W/32]."""
    x = stem(x, training, SLOW_STEM)
    outputs = []
    for number, names in enumerate(block_names(depth), start=2):
        x = stage(x, number, names, training, slow_kernels(number))
        outputs.append(x)
    return outputs[2], outputs[3]


def inflate(weights: Arrays, shapes: Shapes) -> Arrays:
    """Weights of the network on pictures -> the same for the network on clips, whose {name: shape} is `shapes`.

    A kernel [out, in, h, w] that is needed as [out, in, t, h, w] is repeated over t and divided by t: a clip of equal
    frames gives the response of one frame (Carreira and Zisserman, CVPR 2017). The rest is returned as it is.
    """

    def fit(name: str, value: np.ndarray) -> np.ndarray:
        shape = tuple(shapes.get(name, value.shape))
        if value.ndim == 4 and shape == (*value.shape[:2], *shape[2:3], *value.shape[2:]):
            return np.repeat(value[:, :, None] / shape[2], shape[2], axis=2).astype(value.dtype)
        return value

    return {name: fit(name, value) for name, value in weights.items()}


def inflate_conv1(weights: Arrays, shapes: Shapes) -> tuple[Arrays, list[str]]:
    """A `conv1` of 3 channels becomes that of a network that stacks frames; returns (weights, what was reshaped).

    [64, 3, 7, 7] -> [64, 3*frames, 7, 7]: the mean over colours divided by `frames`, repeated, so that a still picture
    gives the response of its grey mean (old zoo v1.3).
    """
    conv1, wanted = weights.get("conv1_weights"), shapes["conv1_weights"]
    if conv1 is None or conv1.shape[1] != 3 or wanted[1] == 3 or wanted[1] % 3:
        return weights, []
    mean = conv1.mean(axis=1, keepdims=True) / (wanted[1] // 3)
    inflated = np.repeat(mean, wanted[1], axis=1).astype(conv1.dtype)
    return {**weights, "conv1_weights": inflated}, [f"conv1_weights {list(conv1.shape)} -> {list(wanted)}"]
