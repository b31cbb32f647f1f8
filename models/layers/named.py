"""Named parameters and the few layers that every network here shares.

Released weights are matched by parameter name, so each name is written out by the network that owns it.
Works under PIR (Paddle 3.x) and the old IR (2.6). Layout NCHW or NCTHW.
"""

import math
from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import Constant, Initializer, KaimingNormal, Uniform
from paddle.regularizer import L2Decay

from models.layers import options

OLD_ZOO = ("w_0", "b_0", "w_1", "w_2")  # suffixes of unnamed batch norms
NAMED = ("scale", "offset", "mean", "variance")  # of those of the backbones
EPSILON = 1e-5  # of the old zoo's batch norms
MOMENTUM = 0.9  # of their running statistics

Tensor = paddle.Tensor


def parameter(
    name: str, shape: Sequence[int], init: Initializer, trainable: bool = True, decay: L2Decay | None = None
) -> Tensor:
    """A parameter called exactly `name`, of Paddle's default dtype; `decay` overrides the optimizer's regularizer.

    Fine-tuning options may freeze it or scale its learning rate.
    """
    rate = options.current().tuning.rate(name)
    attr = paddle.ParamAttr(
        name=name, initializer=init, trainable=trainable and rate > 0, learning_rate=rate or 1.0, regularizer=decay
    )
    return paddle.create_parameter(list(shape), paddle.get_default_dtype(), attr=attr)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, groups: int = 1) -> Tensor:
    """[N, C, H, W] or [N, C, T, H, W] with `weight` [out, in/groups, *kernel], padded so that stride 1 keeps the size.

    `stride` is spatial: time keeps its steps.
    """
    kernel = weight.shape[2:]
    operator = F.conv2d if len(kernel) == 2 else F.conv3d
    strides = [1] * (len(kernel) - 2) + [stride] * 2
    return operator(x, weight, bias, stride=strides, padding=[(k - 1) // 2 for k in kernel], groups=groups)


def conv_norm(
    x: Tensor,
    name: str,
    norm: str,
    channels: int,
    kernel: Sequence[int],
    training: bool,
    stride: int = 1,
    groups: int = 1,
    init: Initializer | None = None,
) -> Tensor:
    """Convolution without bias, weight `<name>_weights` (MSRA-normal or `init`); then batch norm `<norm>_scale`, ...

    Where batch norms are folded, it is a convolution with the bias `<norm>_offset` alone.
    """
    weight = parameter(f"{name}_weights", [channels, x.shape[1] // groups, *kernel], init or KaimingNormal())
    bias = folded_bias(f"{name}_weights", channels, *named_norm(norm))
    y = convolve(x, weight, bias, stride, groups)
    return y if bias is not None else batch_norm(y, *named_norm(norm), training=training)


def named_norm(norm: str) -> list[str]:
    """Names of scale, offset, mean and variance of a backbone's batch norm."""
    return [f"{norm}_{part}" for part in NAMED]


def folded_bias(
    weight: str, channels: int, scale: str | None, offset: str, mean: str, variance: str, epsilon: float = EPSILON
) -> Tensor | None:
    """The bias [channels] of the convolution with parameter `weight` where batch norms are folded, else None."""
    build = options.current()
    if not build.fold_norms:
        return None
    build.folded[weight] = options.FoldedNorm(scale, offset, mean, variance, epsilon)
    return parameter(offset, [channels], Constant(0.0))


def batch_norm(
    x: Tensor, scale: str | None, offset: str, mean: str, variance: str, training: bool, epsilon: float = EPSILON
) -> Tensor:
    """Batch normalisation over axis 1 from parameter names; the running statistics are parameters too.

    `scale` is None where it has none. Where fine-tuning fixes it, it uses the running statistics in training as well.
    """
    size = [x.shape[1]]
    training = training and not options.current().tuning.fixed(scale or offset)
    if training:
        options.current().statistics[mean] = variance
    with options.full_precision():
        x = options.to_float32(x)
        return F.batch_norm(
            x,
            running_mean=parameter(mean, size, Constant(0.0), trainable=False),
            running_var=parameter(variance, size, Constant(1.0), trainable=False),
            weight=parameter(scale, size, Constant(1.0)) if scale else paddle.ones(size, x.dtype),
            bias=parameter(offset, size, Constant(0.0)),
            training=training,
            momentum=MOMENTUM,
            epsilon=epsilon,
        )


def counted_batch_norm(x: Tensor, name: str, training: bool) -> Tensor:
    """Batch norm whose parameters are `<name>.w_0`, `.b_0`, `.w_1`, `.w_2` (layers the old zoo left to a counter)."""
    return batch_norm(x, *(f"{name}.{part}" for part in OLD_ZOO), training=training)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [.., in] times `weight` [in, out], plus `bias` [out] unless it is None."""
    y = options.matmul(x, weight)
    return y if bias is None else y + bias


def classifier(x: Tensor, name: str, classes: int, fan_in: int) -> Tensor:
    """Logits [B, classes]; weight `<name>.w_0` [in, out]. `fan_in` is the backbone's (old zoo v1.3)."""
    limit = 1.0 / math.sqrt(fan_in)
    weight = parameter(f"{name}.w_0", [x.shape[-1], classes], Uniform(-limit, limit))
    bias = parameter(f"{name}.b_0", [classes], Constant(0.0))
    return linear(x, weight, bias)


def mean_over(x: Tensor, axes: Sequence[int]) -> Tensor:
    """The mean over axes of known size. Paddle's own prints a line of its own where oneDNN computes it (3.3)."""
    return x.sum(axis=list(axes)) / math.prod(x.shape[axis] for axis in axes)


def mean_of_batch(losses: Tensor, training: bool) -> Tensor:
    """The mean of [B]; see `mean_over` for why inference, which oneDNN computes, divides a sum."""
    return losses.mean() if training else losses.sum() / paddle.cast(paddle.shape(losses)[0], losses.dtype)
