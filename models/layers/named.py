"""Named parameters and the few layers that every network here shares.

Released weights are matched by parameter name, so each name is written out by the network that owns it.
Works under PIR (Paddle 3.x) and the old IR (2.6). Layout NCHW.
"""

import math

import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import Constant, KaimingNormal, Uniform

from models.layers import folding, precision, tuning

OLD_ZOO = ("w_0", "b_0", "w_1", "w_2")  # suffixes of unnamed batch norms
NAMED = ("scale", "offset", "mean", "variance")  # of those of the backbones


def parameter(name, shape, init, trainable=True, decay=None):
    """A parameter called exactly `name`, of Paddle's default dtype; `decay` overrides the optimizer's regularizer.

    Fine-tuning settings (models/layers/tuning.py) may freeze it or scale its learning rate.
    """
    rate = tuning.current().rate(name)
    attr = paddle.ParamAttr(
        name=name, initializer=init, trainable=trainable and rate > 0, learning_rate=rate or 1.0, regularizer=decay
    )
    return paddle.create_parameter(list(shape), paddle.get_default_dtype(), attr=attr)


def convolve(x, weight, bias=None, stride=1, groups=1):
    """[N, C, H, W] or [N, C, T, H, W] with `weight` [out, in/groups, *kernel], padded so that stride 1 keeps the size.

    `stride` is spatial: time keeps its steps.
    """
    kernel = weight.shape[2:]
    operator = F.conv2d if len(kernel) == 2 else F.conv3d
    strides = [1] * (len(kernel) - 2) + [stride] * 2
    return operator(x, weight, bias, stride=strides, padding=[(k - 1) // 2 for k in kernel], groups=groups)


def conv_norm(x, name, norm, channels, kernel, training, stride=1, groups=1, init=None):
    """Bias-free convolution, weight `<name>_weights`, MSRA-normal unless `init` is given, and the batch norm `<norm>_scale`, ...

    Where batch norms are folded (models/layers/folding.py), it is a convolution with the bias `<norm>_offset` alone.
    """
    weight = parameter(f"{name}_weights", [channels, x.shape[1] // groups, *kernel], init or KaimingNormal())
    names, folded = [f"{norm}_{part}" for part in NAMED], folding.current()
    if folded is None:
        return batch_norm(convolve(x, weight, None, stride, groups), *names, training=training)
    folded.norms[f"{name}_weights"] = names
    return convolve(x, weight, parameter(f"{norm}_offset", [channels], Constant(0.0)), stride, groups)


def batch_norm(x, scale, offset, mean, variance, training):
    """Batch normalisation over axis 1 from four parameter names; the running statistics are parameters too.

    Where fine-tuning fixes it, it uses the running statistics in training as well.
    """
    size = [x.shape[1]]
    training = training and not tuning.current().fixed(scale)
    with precision.full():
        return F.batch_norm(
            precision.widened(x),
            running_mean=parameter(mean, size, Constant(0.0), trainable=False),
            running_var=parameter(variance, size, Constant(1.0), trainable=False),
            weight=parameter(scale, size, Constant(1.0)),
            bias=parameter(offset, size, Constant(0.0)),
            training=training,
            momentum=0.9,
            epsilon=folding.EPSILON,
        )


def counted_batch_norm(x, name, training):
    """Batch norm whose parameters are `<name>.w_0`, `.b_0`, `.w_1`, `.w_2` (layers the old zoo left to a counter)."""
    return batch_norm(x, *(f"{name}.{part}" for part in OLD_ZOO), training=training)


def linear(x, weight, bias):
    """x [.., in] times `weight` [in, out], plus `bias` [out] unless it is None."""
    y = precision.matmul(x, weight)
    return y if bias is None else y + bias


def classifier(x, name, classes, fan_in):
    """Logits [B, classes]; weight `<name>.w_0` [in, out]. The uniform limit uses the backbone's `fan_in`, as the old zoo did."""
    limit = 1.0 / math.sqrt(fan_in)
    weight = parameter(f"{name}.w_0", [x.shape[-1], classes], Uniform(-limit, limit))
    bias = parameter(f"{name}.b_0", [classes], Constant(0.0))
    return linear(x, weight, bias)
