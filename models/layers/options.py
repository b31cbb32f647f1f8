"""How a network is built. Everything that differs between two programs of one network is in `BuildOptions`.

with options.building(BuildOptions(amp="bf16")):        # layers ask `options.current()`
    logits = model.network(inputs, training=True)
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import paddle

BACKBONE = "backbone"  # stands for every parameter that a pretrained image backbone provides
AMP_TYPES = {"bf16": "bfloat16", "fp16": "float16"}


def _nothing(name: str) -> bool:
    return False


@dataclass(frozen=True)
class Tuning:
    """Which parameters are trained, how fast, and which batch norms keep their running statistics.

    `freeze` and the keys of `multipliers` are prefixes of parameter names, or "backbone"; `in_backbone`
    says which names that covers.
    """

    freeze: tuple[str, ...] = ()
    multipliers: dict[str, float] = field(default_factory=dict)
    freeze_bn: bool = False
    in_backbone: Callable[[str], bool] = _nothing

    def rate(self, name: str) -> float:
        """Factor on the learning rate of parameter `name`: 0 if frozen, else that of the longest prefix, else 1."""
        if any(self._covers(prefix, name) for prefix in self.freeze):
            return 0.0
        matching = [prefix for prefix in self.multipliers if self._covers(prefix, name)]
        return self.multipliers[max(matching, key=self._length)] if matching else 1.0

    def fixed(self, name: str) -> bool:
        """Whether the batch norm with parameter `name` uses its running statistics in training, without updates."""
        return self.freeze_bn or self.rate(name) == 0

    def unused(self, names: Iterable[str]) -> list[str]:
        """Prefixes that no parameter name starts with (typing errors)."""
        prefixes = (*self.freeze, *self.multipliers)
        return [prefix for prefix in prefixes if not any(self._covers(prefix, name) for name in names)]

    def _covers(self, prefix: str, name: str) -> bool:
        return self.in_backbone(name) if prefix == BACKBONE else name.startswith(prefix)

    @staticmethod
    def _length(prefix: str) -> int:
        return 0 if prefix == BACKBONE else len(prefix)


class FoldedNorm(NamedTuple):
    """A batch norm that was folded into a convolution: parameter names (`scale` may be None) and epsilon."""

    scale: str | None
    offset: str
    mean: str
    variance: str
    epsilon: float


@dataclass(frozen=True)
class BuildOptions:
    """Options of one program.

    tuning      freezing and learning rates, in training
    amp         None, or "bf16" or "fp16": 16-bit convolutions and matrix products (Paddle's level O1)
    use_gpu     the device that the program is for
    fold_norms  batch norms behind convolutions become part of them; for inference only
    portable    use no operator that paddle2onnx cannot convert; for inference only
    folded      filled while building: {name of a convolution's weight: its FoldedNorm}
    statistics  filled while building: {running mean: running variance}, names, of batch norms that update them
    """

    tuning: Tuning = Tuning()
    amp: str | None = None
    use_gpu: bool = False
    fold_norms: bool = False
    portable: bool = False
    folded: dict[str, FoldedNorm] = field(default_factory=dict)
    statistics: dict[str, str] = field(default_factory=dict)

    def folded_values(self, plain: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{name: array} of the plain network -> the values of the program that was built with these options."""
        found = dict(plain)
        for weight, norm in self.folded.items():
            factor = 1.0 / np.sqrt(plain[norm.variance].astype(np.float64) + norm.epsilon)
            if norm.scale:
                factor = factor * plain[norm.scale]
            dtype, columns = plain[weight].dtype, [1] * (plain[weight].ndim - 1)
            found[weight] = (plain[weight] * factor.reshape(-1, *columns)).astype(dtype)
            found[norm.offset] = (plain[norm.offset] - plain[norm.mean] * factor).astype(dtype)
        return found


_PLAIN = BuildOptions()
_current: ContextVar[BuildOptions] = ContextVar("build_options", default=_PLAIN)


def current() -> BuildOptions:
    """The options of the program that is being built."""
    return _current.get()


@contextlib.contextmanager
def building(options: BuildOptions) -> Iterator[BuildOptions]:
    """Build a network inside the block with these options."""
    token = _current.set(options)
    amp = contextlib.nullcontext()
    if options.amp:
        amp = paddle.amp.auto_cast(level="O1", dtype=AMP_TYPES[options.amp])
    try:
        with amp:
            yield options
    finally:
        _current.reset(token)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Build in 32 bits inside the block, even with `amp`; pass the block's inputs through `to_float32`."""
    if current().amp:
        with paddle.amp.auto_cast(enable=False):
            yield
    else:
        yield


def to_float32(x: paddle.Tensor) -> paddle.Tensor:
    """`x` as float32 where `amp` may have made it a 16-bit tensor; otherwise `x` itself."""
    return paddle.cast(x, "float32") if current().amp else x


def matmul(x: paddle.Tensor, y: paddle.Tensor, transpose_x: bool = False, transpose_y: bool = False) -> paddle.Tensor:
    """paddle.matmul that can be trained in bf16 on a CPU.

    The gradient there is oneDNN's (Paddle 3.3). It ends the process with a segmentation fault if only one factor needs
    a gradient: a product with the input, or with frozen weights. The other factor gets one too, which nothing uses.
    """
    build = current()
    if build.amp == "bf16" and not build.use_gpu and x.stop_gradient != y.stop_gradient:
        x, y = (_with_gradient(factor) if factor.stop_gradient else factor for factor in (x, y))
    return paddle.matmul(x, y, transpose_x, transpose_y)


def _with_gradient(x: paddle.Tensor) -> paddle.Tensor:
    """A copy of `x` whose gradient is computed; `x` itself stays as it is."""
    copy = paddle.assign(x)
    copy.stop_gradient = False
    return copy
