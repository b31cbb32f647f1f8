"""Mixed precision: convolutions and matrix products in 16 bits, everything else, parameters too, in 32 (Paddle's level O1).

with applied("bf16"): model.network(...)                # layers that need 32 bits ask `full()`
"""

from contextlib import contextmanager
from contextvars import ContextVar

import paddle

TYPES = {"bf16": "bfloat16", "fp16": "float16"}

_current = ContextVar("precision", default=None)


@contextmanager
def applied(kind):
    """Build a network inside the block with 16-bit products of `kind`: bf16, fp16 or, for none, None."""
    token = _current.set(kind)
    try:
        if kind:
            with paddle.amp.auto_cast(level="O1", dtype=TYPES[kind]):
                yield
        else:
            yield
    finally:
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
