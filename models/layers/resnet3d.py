"""Slow-only ResNet-50/101 on clips: the 2-D network of resnet.py with kernels inflated over time (TPN, CVPR 2020).

The first convolution of every block of stages 4 and 5 spans three frames, all others one; time is never strided or
pooled. Parameters keep the 2-D network's names, so that ImageNet weights carry over by name through `inflate`.
"""

import numpy as np
import paddle.nn.functional as F

from models.layers.named import conv_norm
from models.layers.resnet import block_names


def stem(x, training):  # [N, 3, T, H, W]
    x = F.relu(conv_norm(x, "conv1", "bn_conv1", 64, (1, 7, 7), training, stride=2))
    return F.max_pool3d(x, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))  # [N, 64, T, H/4, W/4]


def bottleneck(x, name, width, frames, stride, training):
    """`frames`x1x1 -> 1x3x3 (carries the stride) -> 1x1x1 to 4 x width, plus a shortcut, projected when the shape changes."""

    def unit(x, branch, channels, kernel, stride=1):
        return conv_norm(x, f"res{name}_branch{branch}", f"bn{name}_branch{branch}", channels, kernel, training, stride)

    y = F.relu(unit(x, "2a", width, (frames, 1, 1)))
    y = F.relu(unit(y, "2b", width, (1, 3, 3), stride))
    y = unit(y, "2c", 4 * width, (1, 1, 1))
    if stride > 1 or x.shape[1] != 4 * width:
        x = unit(x, "1", 4 * width, (1, 1, 1), stride)
    return F.relu(x + y)


def stage(x, number, names, training):
    """Stage `number` (2..5) with the blocks `names`: the first halves the resolution, except in stage 2."""
    for i, name in enumerate(names):
        stride = 2 if i == 0 and number > 2 else 1
        frames = 3 if number >= 4 else 1
        x = bottleneck(x, name, 64 * 2 ** (number - 2), frames, stride, training)
    return x


def features(x, depth, training):
    """Clips [N, 3, T, H, W] -> outputs of stages 4 and 5: [N, 1024, T, H/16, W/16] and [N, 2048, T, H/32, W/32]."""
    x = stem(x, training)
    outputs = []
    for number, names in enumerate(block_names(depth), start=2):
        x = stage(x, number, names, training)
        outputs.append(x)
    return outputs[2], outputs[3]


def inflate(weights, shapes):
    """{name: array} of a 2-D network -> the same for its 3-D twin, whose {name: shape} is `shapes`.

    A kernel [out, in, h, w] wanted as [out, in, t, h, w] is repeated over t and divided by t: a clip of equal frames gives
    the response of one frame (Carreira and Zisserman, CVPR 2017). Everything else is returned as it is.
    """

    def fit(name, value):
        shape = tuple(shapes.get(name, value.shape))
        if value.ndim == 4 and shape == (*value.shape[:2], *shape[2:3], *value.shape[2:]):
            return np.repeat(value[:, :, None] / shape[2], shape[2], axis=2).astype(value.dtype)
        return value

    return {name: fit(name, value) for name, value in weights.items()}
