"""Fine-tuning: which parameters of a graph are trained, how fast, and which batch norms keep their running statistics.

with applied(Tuning(...)): model.network(...)           # layers.parameter and layers.batch_norm ask `current()`
"""

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

BACKBONE = "backbone"  # stands for every parameter that a pretrained image backbone provides


@dataclass(frozen=True)
class Tuning:
    """`freeze` and the keys of `multipliers` are prefixes of parameter names, or "backbone"; `in_backbone(name)` says what that is."""

    freeze: tuple = ()
    multipliers: dict = field(default_factory=dict)
    freeze_bn: bool = False
    in_backbone: callable = lambda name: False

    def rate(self, name):
        """Factor on the learning rate of parameter `name`: 0 if frozen, else that of the longest prefix, else 1."""
        if any(self._covers(prefix, name) for prefix in self.freeze):
            return 0.0
        fitting = [prefix for prefix in self.multipliers if self._covers(prefix, name)]
        return self.multipliers[max(fitting, key=self._length)] if fitting else 1.0

    def fixed(self, scale):
        """Whether the batch norm with this scale uses its running statistics in training, and leaves them as they are."""
        return self.freeze_bn or self.rate(scale) == 0

    def unused(self, names):
        """Prefixes that no name starts with: typing errors."""
        return [
            prefix
            for prefix in (*self.freeze, *self.multipliers)
            if not any(self._covers(prefix, name) for name in names)
        ]

    def _covers(self, prefix, name):
        return self.in_backbone(name) if prefix == BACKBONE else name.startswith(prefix)

    @staticmethod
    def _length(prefix):
        return 0 if prefix == BACKBONE else len(prefix)


_PLAIN = Tuning()
_current = ContextVar("tuning")


def current():
    return _current.get(_PLAIN)


@contextmanager
def applied(tuning):
    """Build a network inside the block, and its parameters are trained as `tuning` says."""
    token = _current.set(tuning)
    try:
        yield
    finally:
        _current.reset(token)
