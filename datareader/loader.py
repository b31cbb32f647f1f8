"""Ordered batches from worker threads: bounded in bytes, repeatable, never hanging.

    order(seed, epoch) -> tasks (batch, row, position) -> threads: dataset.read -> rows of a batch buffer -> batches

In training, a sample that cannot be read is replaced by the next one of the order. Elsewhere it is left out and
reported. A reader stuck on one file is given up after `sample_timeout` seconds, and another thread takes its place.
A lost connection ends training. Elsewhere the samples read by then are delivered, and the rest has that as its reason.
Threads are enough: decoding and scaling release the interpreter's lock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from datareader.epoch import Epoch
from utils.errors import DataError, shown

__all__ = ["Batch", "Dataset", "Loader", "too_many_bad"]


@dataclass
class Batch:
    """One batch of an epoch."""

    number: int  # in its epoch
    feed: dict[str, np.ndarray]  # what the graph is fed
    ids: list[str]  # of its rows
    labels: list  # of its rows
    indices: list[int]  # positions of its rows in the list


class Dataset(Protocol):
    """The interface of a dataset, as the loader uses it."""

    def __len__(self) -> int: ...

    def read(self, index: int, epoch: int) -> tuple[object, object, str]:
        """(value for a row of `buffer`, label, id). Raises DataError, RemoteError."""

    def buffer(self, count: int) -> object:
        """Room for `count` samples."""

    def feed(self, buffer: object, labels: Sequence) -> dict[str, np.ndarray]:
        """Arrays for the graph's inputs."""

    def shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """Indices in the order of an epoch."""

    def name(self, index: int) -> str:
        """Name of a sample in messages."""


class Loader:
    """Batches of a dataset.

    `bad` maps the index of each unreadable sample to the reason, over all epochs so far. `lost` says why a connection
    was lost outside of training. `close`, or `with loader:`, stops the threads and waits for them.

    `part` (rank, world) reads one of `world` contiguous slices of every batch; the samples of a batch and their order
    stay the same. Slices are equal if batch_size is a multiple of `world`. Otherwise some may be empty, and a batch
    with an empty slice is not delivered.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        threads: int = 2,
        buffer_bytes: int = 512 << 20,
        timeout: float = 120.0,
        training: bool = False,
        seed: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Raises DataError for a training list that does not fill a batch."""
        if training and len(dataset) < batch_size:
            raise DataError(
                f"batch_size '{batch_size}' is larger than the {len(dataset)} samples of the training list; lower it"
            )
        self.dataset, self.batch_size = dataset, batch_size
        self.threads, self.timeout, self.buffer_bytes = threads, timeout, buffer_bytes
        self.training, self.seed, self.part = training, seed, part
        self.bad: dict[int, str] = {}
        self.lost: str | None = None
        self._running: list[Epoch] = []

    def __len__(self) -> int:
        """Batches in an epoch; only training drops a short last one."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (1 if rest and not self.training else 0)

    def rows(self, number: int) -> range:
        """Positions in the order of the epoch that are read for batch `number`."""
        first, (rank, world) = number * self.batch_size, self.part
        count = min(self.batch_size, len(self.dataset) - first)
        return range(first + count * rank // world, first + count * (rank + 1) // world)

    def order(self, epoch: int) -> np.ndarray:
        """Indices of the samples in the order of this epoch; in training shuffled by (seed, epoch)."""
        if not self.training:
            return np.arange(len(self.dataset))
        return self.dataset.shuffled(np.random.default_rng([self.seed, epoch]))

    def epoch(self, number: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from batch `start` on.

        In training raises DataError if most of an epoch is bad, and RemoteError. Raises ResourceError if the machine
        has no more open files or threads.
        """
        run = Epoch(self, number)
        self._running.append(run)
        try:
            for ready, slot in run.slots_in_order(start):
                batch = self._batch(ready, slot.buffer, slot.found)
                if batch.ids:
                    yield batch
        finally:
            run.stop()
            self._running.remove(run)

    def _batch(self, number: int, buffer: object, found: list) -> Batch:
        """The batch of the readable rows of a buffer; `found` has (label, id, index) or None for each row."""
        kept = [row for row, sample in enumerate(found) if sample]
        if not kept:
            return Batch(number, {}, [], [], [])
        if len(kept) < len(found):
            buffer = buffer[kept]
        labels, ids, indices = (list(column) for column in zip(*(found[row] for row in kept), strict=True))
        return Batch(number, self.dataset.feed(buffer, labels), ids, labels, indices)

    def reject(self, index: int, reason: str) -> None:
        """Note that a sample cannot be read. In training raises DataError once that is most of them."""
        self.bad.setdefault(index, shown(reason, 2000))
        if self.training and 2 * len(self.bad) > len(self.dataset):
            raise too_many_bad(self)

    def close(self) -> None:
        """Stop the threads of all epochs and wait for them, so that the interpreter can end."""
        for run in list(self._running):
            run.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def too_many_bad(loader: Loader) -> DataError:
    """The error for an epoch in which most samples are unreadable, with the first reasons."""
    reasons = "; ".join(list(loader.bad.values())[:3])
    return DataError(
        f"{len(loader.bad)} of {len(loader.dataset)} training samples cannot be read, more than half: {reasons}; ..."
    )
