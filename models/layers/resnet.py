"""ResNet-50/101/152 (He et al., CVPR 2016) with the old zoo's parameter names: res2a_branch2a_weights, bn2a_branch2a_scale, ...

The stride of a block sits in its 3x3 convolution. The stages are separate functions, because StNet puts temporal
blocks between them.
"""

import numpy as np
import paddle
import paddle.nn.functional as F

from models.layers.named import conv_norm

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
FEATURES = 2048  # channels after the last stage


def block_names(depth):
    """[[names of stage 2], ..., [names of stage 5]]; deep nets number the blocks of stage 4: 4a, 4b1, 4b2, ..."""

    def name(stage, i):
        numbered = depth > 50 and stage == 4 and i > 0
        return f"{stage}b{i}" if numbered else f"{stage}{chr(ord('a') + i)}"

    return [[name(stage, i) for i in range(n)] for stage, n in enumerate(BLOCKS[depth], start=2)]


def stem(x, training, same=False):
    """Images [N, C, H, W] -> [N, 64, H/4, W/4]. `same`: the pool pads as MindSpore's does, even sizes below and right only."""
    x = F.relu(conv_norm(x, "conv1", "bn_conv1", 64, (7, 7), training, stride=2))
    edges = [[1 - (size + 1) % 2, 1] if same else [1, 1] for size in x.shape[2:]]
    return F.max_pool2d(x, kernel_size=3, stride=2, padding=[[0, 0], [0, 0], *edges] if same else 1)


def bottleneck(x, name, width, stride, training):
    """1x1 -> 3x3 (carries the stride) -> 1x1 to 4 x width, plus a shortcut that is projected when the shape changes."""

    def unit(x, branch, channels, kernel, stride=1):
        return conv_norm(x, f"res{name}_branch{branch}", f"bn{name}_branch{branch}", channels, kernel, training, stride)

    y = F.relu(unit(x, "2a", width, (1, 1)))
    y = F.relu(unit(y, "2b", width, (3, 3), stride))
    y = unit(y, "2c", 4 * width, (1, 1))
    if stride > 1 or x.shape[1] != 4 * width:
        x = unit(x, "1", 4 * width, (1, 1), stride)
    return F.relu(x + y)


def stage(x, number, names, training):
    """Stage `number` (2..5): its first block halves the resolution, except in stage 2."""
    for i, name in enumerate(names):
        stride = 2 if i == 0 and number > 2 else 1
        x = bottleneck(x, name, width=64 * 2 ** (number - 2), stride=stride, training=training)
    return x


def pool(x):
    """Global average: [N, C, H, W] -> [N, C]."""
    return paddle.flatten(F.adaptive_avg_pool2d(x, 1), start_axis=1)


def features(x, depth, training):
    """Images [N, C, H, W] -> pooled features [N, 2048]."""
    x = stem(x, training)
    for number, names in enumerate(block_names(depth), start=2):
        x = stage(x, number, names, training)
    return pool(x)


def inflate_conv1(weights, shapes):
    """({name: array}, what was reshaped): a `conv1` of 3 channels made that of a network of {name: shape} that stacks frames.

    [64, 3, 7, 7] -> [64, 3*frames, 7, 7]: the mean over colours divided by `frames`, repeated, so that a still picture gives the
    response of its grey mean (old zoo v1.3).
    """
    conv1, wanted = weights.get("conv1_weights"), shapes["conv1_weights"]
    if conv1 is None or conv1.shape[1] != 3 or wanted[1] == 3 or wanted[1] % 3:
        return weights, []
    mean = conv1.mean(axis=1, keepdims=True) / (wanted[1] // 3)
    inflated = np.repeat(mean, wanted[1], axis=1).astype(conv1.dtype)
    return {**weights, "conv1_weights": inflated}, [f"conv1_weights {list(conv1.shape)} -> {list(wanted)}"]
