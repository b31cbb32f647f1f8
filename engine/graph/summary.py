"""Size and cost of a model, counted from its program: parameters, multiply-adds of one view, bytes of a weight file."""

import math
from dataclasses import dataclass
from typing import Any

import paddle

from engine.graph import compat
from models.base import Model

_CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "conv3d")
_MATRICES = ("matmul", "matmul_v2", "bmm")


@dataclass(frozen=True)
class Summary:
    """Size and cost of a model.

    parameters: trained numbers
    bytes: size of everything that is saved, running statistics included, in float32
    unit: what the multiply-adds are counted for
    """

    parameters: int
    multiply_adds: int
    bytes: int
    unit: str

    def __str__(self):
        return (
            f"{self.parameters:,} trained parameters, {self.multiply_adds / 1e9:.2f} G multiply-adds per {self.unit}, "
            f"{self.bytes / 1e6:.1f} MB of weights"
        )


def summary(model: Model, **shape: Any) -> Summary:
    """The Summary of a model in its own mode; `shape` goes to the model's `inputs` (clips: size, segments).

    Multiply-adds are those of convolutions and matrix products, as papers count them. A dimension of the inputs that
    varies counts as one: the batch, and the length of a sequence. What runs inside a loop is not counted.
    """
    with compat.static_mode(), paddle.utils.unique_name.guard():
        return _counted(model, shape)


def _counted(model, shape):
    program = paddle.static.Program()
    with paddle.static.program_guard(program, paddle.static.Program()):
        inputs = model.inputs(raw=False, **shape)
        varying = any(n < 1 for value in inputs.values() for n in value.shape[1:])
        model.network({name: _single(name, value) for name, value in inputs.items()}, training=model.mode == "train")
    sizes = [(math.prod(size), trainable) for size, trainable in compat.parameters(program).values()]
    return Summary(
        parameters=sum(size for size, trainable in sizes if trainable),
        multiply_adds=sum(
            _multiply_adds(*operation) for operation in compat.products(program, _CONVOLUTIONS, _MATRICES)
        ),
        bytes=4 * sum(size for size, _ in sizes),
        unit="frame (loops not counted)" if varying else "view",
    )


def line(model: Model) -> str:
    """What `--summary` prints."""
    return f"{model.name}, {model.mode}: {summary(model)}"


def _single(name, value):
    """A placeholder like `value` for one sample: where every size is given, Paddle infers every size that follows."""
    return paddle.static.data(f"single_{name}", [max(int(n), 1) for n in value.shape], value.dtype)


def _multiply_adds(kind, factor, result):
    """Every number of the result takes one multiply-add per number that is summed up in it."""
    factor, result = ([max(int(n), 1) for n in shape] for shape in (factor, result))
    if kind in _CONVOLUTIONS:
        return math.prod(result) * math.prod(factor[1:])  # [out, in/groups, *kernel]
    return math.prod(result) * math.prod(factor[-2:]) // result[-1]  # whichever way the second factor lies
