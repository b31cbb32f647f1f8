"""Batch norms folded into the convolutions before them, for programs that only infer: weight * factor, and a bias.

with applied() as folded: model.network(...)            # layers.conv_norm asks `current()`
folded.values(values)                                   # {name: array} of the plain network -> of the folded one
"""

from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

EPSILON = 1e-5  # of every batch norm here

_current = ContextVar("folding", default=None)


class Folded:
    """`norms`: {name of a convolution's weight: names of scale, offset, mean and variance of the batch norm behind it}."""

    def __init__(self):
        self.norms = {}

    def values(self, plain):
        """The same network's values where each weight has its batch norm's factor and each offset is the bias."""
        found = dict(plain)
        for weight, (scale, offset, mean, variance) in self.norms.items():
            factor = plain[scale].astype(np.float64) / np.sqrt(plain[variance].astype(np.float64) + EPSILON)
            found[weight] = (plain[weight] * factor.reshape(-1, *[1] * (plain[weight].ndim - 1))).astype(
                plain[weight].dtype
            )
            found[offset] = (plain[offset] - plain[mean] * factor).astype(plain[offset].dtype)
        return found


def current():
    return _current.get()


@contextmanager
def applied():
    """Build a network for inference inside the block, without the batch norms behind convolutions."""
    token = _current.set(Folded())
    try:
        yield _current.get()
    finally:
        _current.reset(token)
