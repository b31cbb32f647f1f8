"""TensorFlow's "same" padding: the result has ceil(size / stride) steps; an odd number of zeros has one more at the end."""

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F


def same(
    x: paddle.Tensor, kernel: Sequence[int], stride: Sequence[int], value: float = 0.0
) -> tuple[paddle.Tensor, list[int]]:
    """(x, padding): what to give to a convolution or pool over x [N, C, *sizes] for "same" padding.

    Symmetric padding is left to the operator; where it is asymmetric, x is padded here with `value`.
    """
    before_after = [_around(size, k, s) for size, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    if all(before == after for before, after in before_after):
        return x, [before for before, _ in before_after]
    widths = [width for pair in reversed(before_after) for width in pair]  # the last axis first
    layout = "NCHW" if len(kernel) == 2 else "NCDHW"
    return F.pad(x, widths, value=value, data_format=layout), [0] * len(kernel)


def _around(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
