"""Mixed precision: convolutions and matrix products in 16 bits, everything else, parameters too, in 32 (Paddle's level O1).

with applied("bf16"): model.network(...)                # layers that need 32 bits ask `full()`
"""

from contextlib import contextmanager
from contextvars import ContextVar

import paddle

TYPES = {"bf16": "bfloat16", "fp16": "float16"}

_current = ContextVar("precision", default=None)
_needs_both_gradients = ContextVar("needs_both_gradients", default=False)


@contextmanager
def applied(kind, use_gpu=False):
    """Build a network inside the block with 16-bit products of `kind`: bf16, fp16 or, for none, None."""
    token = _current.set(kind)
    on_cpu = _needs_both_gradients.set(kind == "bf16" and not use_gpu)
    try:
        if kind:
            with paddle.amp.auto_cast(level="O1", dtype=TYPES[kind]):
                yield
        else:
            yield
    finally:
        _needs_both_gradients.reset(on_cpu)
        _current.reset(token)


@contextmanager
def full():
    """Build with 32 bits inside the block, whatever is applied around it; `widened` what goes in."""
    if _current.get():
        with paddle.amp.auto_cast(enable=False):
            yield
    else:
        yield


def widened(x):
    """`x` in 32 bits where it may have 16."""
    return paddle.cast(x, "float32") if _current.get() else x


def matmul(x, y, transpose_x=False, transpose_y=False):
    """paddle.matmul that can be trained in bf16 on a CPU.

    The gradient there is oneDNN's (Paddle 3.3), which ends the process with a segmentation fault if only one factor wants a
    gradient: a product with the input, or with frozen weights. The other factor is given a gradient too, which nothing uses.
    """
    if _needs_both_gradients.get() and x.stop_gradient != y.stop_gradient:
        x, y = (_with_gradient(factor) if factor.stop_gradient else factor for factor in (x, y))
    return paddle.matmul(x, y, transpose_x, transpose_y)


def _with_gradient(x):
    """A copy of `x` whose gradient is computed; `x` itself stays as it is."""
    copy = paddle.assign(x)
    copy.stop_gradient = False
    return copy
