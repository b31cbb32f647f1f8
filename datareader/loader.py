"""Batches in order from worker threads: bounded in bytes, repeatable, and with no way to hang.

    order(seed, epoch) -> tasks (batch, row, position) -> threads: dataset.read -> rows of a batch buffer -> batches in order
A sample that cannot be read is, in training, replaced by the next one of the order; elsewhere it is left out and reported.
A reader stuck on one file is given up after `sample_timeout` seconds, and another thread takes its place.
A lost connection ends training; elsewhere what is read by then is delivered, and the rest is left out with that reason.
Threads are enough: decoding and scaling release the interpreter's lock.
"""

import queue
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from utils.errors import DataError, RemoteError

POLL_SECONDS = 1.0


@dataclass
class Batch:
    """`number` in its epoch; `feed` goes to the graph; `ids` and `labels` follow its rows; `indices` are positions in the list."""

    number: int
    feed: dict
    ids: list
    labels: list
    indices: list


@dataclass(eq=False)
class _Task:
    batch: int
    row: int
    position: int
    started: float | None = None
    alive: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Slot:
    """A batch being filled."""

    def __init__(self, buffer, rows):
        self.buffer, self.missing = buffer, rows
        self.found = [None] * rows  # per row: (label, id, index), or None where the sample is bad


class Loader:
    """Batches of a dataset (`read`, `buffer`, `feed`, `shuffled`, `name`, `__len__`). `bad` maps the index of each unreadable
    sample to its reason, over all epochs so far; `lost` says why a connection was lost outside of training.

    `part` (rank, world) reads one of `world` contiguous slices of every batch, whose samples and order it does not change. Slices
    are equal where batch_size is a multiple of `world`; others may be empty, and such a batch is then not delivered."""

    def __init__(
        self, dataset, batch_size, threads=2, buffer_bytes=512 << 20, timeout=120.0, training=False, seed=0, part=(0, 1)
    ):
        if training and len(dataset) < batch_size:
            raise DataError(
                f"batch_size '{batch_size}' is larger than the {len(dataset)} samples of the training list; lower it"
            )
        self.dataset, self.batch_size, self.threads, self.timeout = dataset, batch_size, threads, timeout
        self.training, self.seed, self.buffer_bytes, self.part = training, seed, buffer_bytes, part
        self.bad, self.lost = {}, None

    def __len__(self):
        """Batches per epoch: a short last one is dropped in training only."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (1 if rest and not self.training else 0)

    def rows(self, number):
        """Positions in the order of the epoch that are read for batch `number`."""
        first, (rank, world) = number * self.batch_size, self.part
        count = min(self.batch_size, len(self.dataset) - first)
        return range(first + count * rank // world, first + count * (rank + 1) // world)

    def order(self, epoch):
        """Indices of the samples in the order of this epoch: shuffled by (seed, epoch) in training."""
        if not self.training:
            return np.arange(len(self.dataset))
        return self.dataset.shuffled(np.random.default_rng([self.seed, epoch]))

    def epoch(self, number=0, start=0):
        """Yield the batches of an epoch from batch `start` on. In training, raises DataError when most of an epoch is bad, and
        RemoteError."""
        run = _Epoch(self, number)
        try:
            yield from run.batches(start)
        finally:
            run.stop()


class _Epoch:
    def __init__(self, loader, number):
        self.loader, self.number, self.order = loader, number, loader.order(number)
        self.tasks, self.events = queue.SimpleQueue(), queue.SimpleQueue()
        self.slots, self.running, self.stopped = {}, set(), False
        for _ in range(loader.threads):
            self._start_thread()

    def _start_thread(self):
        threading.Thread(target=self._work, name="reader", daemon=True).start()

    def stop(self):
        self.stopped = True
        for _ in range(self.loader.threads):
            self.tasks.put(None)

    # ---- in the consumer's thread

    def batches(self, start):
        ready, ahead = start, start
        while ready < len(self.loader):
            while ahead < len(self.loader) and ahead - ready < self._depth():
                self._open(ahead)
                ahead += 1
            while self.slots[ready].missing:
                self._advance()
            batch = self._close(ready)
            ready += 1
            if batch.ids:
                yield batch

    def _depth(self):
        """Batches in preparation: enough to keep every thread busy, at most `buffer_bytes`, at least one."""
        loader = self.loader
        busy = 1 + -(-2 * loader.threads // max(1, loader.batch_size // loader.part[1]))
        largest = max((slot.buffer.nbytes for slot in self.slots.values()), default=0)
        return max(1, min(busy, loader.buffer_bytes // largest) if largest else busy)

    def _open(self, number):
        positions = self.loader.rows(number)
        self.slots[number] = _Slot(self.loader.dataset.buffer(len(positions)), len(positions))
        for row, position in enumerate(positions):
            self.tasks.put(_Task(number, row, position))

    def _advance(self):
        """Take one event from the threads, or look for a stuck one."""
        try:
            event = self.events.get(timeout=min(POLL_SECONDS, self.loader.timeout))
        except queue.Empty:
            self._abandon_stuck()
            return
        if isinstance(event, BaseException):
            raise event
        number, row, found = event
        slot = self.slots[number]
        slot.found[row] = found
        slot.missing -= 1

    def _abandon_stuck(self):
        now = time.monotonic()
        for task in list(self.running):
            with task.lock:
                stuck = task.alive and task.started and now - task.started > self.loader.timeout
                task.alive = task.alive and not stuck
            if stuck:
                self.running.discard(task)
                self._start_thread()
                self._failed(task, f"no answer within {self.loader.timeout:g} s")

    def _close(self, number):
        slot, dataset = self.slots.pop(number), self.loader.dataset
        kept = [row for row, found in enumerate(slot.found) if found]
        buffer = slot.buffer
        if len(kept) < len(slot.found):
            buffer = buffer[kept]
        labels, ids, indices = (
            (list(column) for column in zip(*(slot.found[row] for row in kept), strict=True)) if kept else ([], [], [])
        )
        return Batch(number, dataset.feed(buffer, labels) if kept else {}, ids, labels, indices)

    # ---- in the worker threads

    def _work(self):
        while not self.stopped:
            task = self.tasks.get()
            if task is None:
                return
            try:
                self._read(task)
            except Exception as error:
                self.events.put(error)
                return
            if not task.alive:  # given up in the meantime: another thread has taken this one's place
                return

    def _read(self, task):
        index = int(self.order[task.position % len(self.order)])
        known = (
            self.loader.bad.get(index)
            or self.loader.lost
            and f"not read, since a connection was lost: {self.loader.lost}"
        )
        if known:
            self._failed(task, known)
            return
        task.started = time.monotonic()
        self.running.add(task)
        try:
            value, label, name = self.loader.dataset.read(index, self.number)
        except (DataError, RemoteError) as error:
            with task.lock:
                alive = task.alive
            if isinstance(error, RemoteError):
                if self.loader.training:
                    raise
                self.loader.lost = self.loader.lost or str(error)
            if alive:
                self._failed(task, str(error))
            return
        finally:
            self.running.discard(task)
        with task.lock:
            if task.alive:
                self.slots[task.batch].buffer[task.row] = value
                self.events.put((task.batch, task.row, (label, name, index)))

    def _failed(self, task, reason):
        """Report the sample; in training put the next one of the order in its place."""
        loader = self.loader
        loader.bad.setdefault(int(self.order[task.position % len(self.order)]), reason)
        if not loader.training:
            self.events.put((task.batch, task.row, None))
        elif 2 * len(loader.bad) > len(self.order):
            self.events.put(too_many_bad(loader))
        else:
            self.tasks.put(_Task(task.batch, task.row, task.position + 1))


def too_many_bad(loader):
    """The error of an epoch that is mostly unreadable, with the first reasons."""
    reasons = "; ".join(list(loader.bad.values())[:3])
    return DataError(
        f"{len(loader.bad)} of {len(loader.dataset)} training samples cannot be read, more than half: {reasons}; ..."
    )
