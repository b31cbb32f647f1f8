"""Statistics of batch norms over many batches, for the weights as they are now (SlowFast's precise batch norm).

The running statistics of a training are a decaying mean over its last steps, whose weights have changed since.
"""

import contextlib
import itertools
from collections.abc import Callable

import numpy as np

from datareader.loader import Loader
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.graph.step import pieces_of
from models.base import Model
from models.layers.named import MOMENTUM

__all__ = ["PreciseStatistics", "pooled"]

Arrays = dict[str, np.ndarray]


class PreciseStatistics:
    """Replaces the running statistics of the training graph `graph` of `model` by those of `batches` batches.

    Weights stay as they are. With 0 batches, or batch norms that are all frozen, every method is a no-op.
    """

    def __init__(self, device: Device, model: Model, graph: Graph, batches: int):
        self.device, self.group, self.pieces = device, graph.group, graph.pieces
        self.names = graph.options.statistics
        self.batches = batches if self.names else 0
        if self.batches:
            options = graph.options
            self.graph = Graph(model, training=True, update=False, amp=options.amp, use_gpu=options.use_gpu)

    def compute(self, loader: Loader, epoch: int) -> None:
        """Set the statistics to those of the first batches of `epoch`, and of the other processes' parts of them."""
        if not self.batches:
            return
        kept = self.device.get([*self.names, *self.names.values()])
        found = kept
        try:
            with contextlib.closing(loader.epoch(epoch)) as batches:
                pieces = (self._pieces(batch.feed) for batch in itertools.islice(batches, self.batches))
                parts = [self._of_piece(piece) for piece in itertools.chain.from_iterable(pieces)]
            found = pooled(parts, self.names, self.group.mean)
        finally:
            self.device.set(found)  # as they were, where a batch could not be read

    def _pieces(self, feed):
        return pieces_of({name: feed[name] for name in self.graph.feeds}, self.pieces)

    def _of_piece(self, feed) -> Arrays:
        """Mean and variance of one batch: what it adds to running statistics of zero."""
        names = [*self.names, *self.names.values()]
        self.device.set({name: np.zeros_like(value) for name, value in self.device.get(names).items()})
        self.device.run(self.graph, feed, [self.graph.loss])
        return {name: value / (1.0 - MOMENTUM) for name, value in self.device.get(names).items()}


def pooled(
    batches: list[Arrays], names: dict[str, str], across: Callable[[Arrays], Arrays] = lambda arrays: arrays
) -> Arrays:
    """{name: mean or variance} over batches of one size; `names` is {mean: variance}.

    The variance is the mean of the batches' variances plus the variance of their means. `across` averages
    {name: array} over processes.
    """
    moments = {}
    for mean, variance in names.items():
        means = np.stack([batch[mean] for batch in batches]).astype(np.float64)
        variances = np.stack([batch[variance] for batch in batches]).astype(np.float64)
        moments[mean] = means.mean(axis=0)
        moments[variance] = (variances + means**2).mean(axis=0)  # of the squares
    moments = across(moments)
    return {
        **{mean: moments[mean] for mean in names},
        **{variance: np.maximum(moments[variance] - moments[mean] ** 2, 0.0) for mean, variance in names.items()},
    }
