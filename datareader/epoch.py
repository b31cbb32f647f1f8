"""The threads of one epoch: they take tasks, read samples, and fill the rows of batch buffers."""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from datareader.resources import patiently
from datareader.stopping import THREAD_NAME, Stopped, join, stop_at_exit, work_for
from utils.errors import DataError, RemoteError, ResourceError

__all__ = ["Epoch", "Slot"]

POLL_SECONDS = 1.0


class Source(Protocol):
    """What an epoch needs from its loader (datareader/loader.py)."""

    dataset: Any
    batch_size: int
    threads: int
    timeout: float
    buffer_bytes: int
    training: bool
    part: tuple[int, int]
    bad: dict[int, str]
    lost: str | None

    def __len__(self) -> int: ...

    def rows(self, number: int) -> range: ...

    def order(self, epoch: int) -> Any: ...

    def reject(self, index: int, reason: str) -> None: ...


@dataclass(eq=False)
class Task:
    """A sample to be read into a row of a batch."""

    batch: int
    row: int
    position: int  # in the order of the epoch
    started: float | None = None
    thread: threading.Thread | None = None  # that reads it
    alive: bool = True  # False: given up
    lock: threading.Lock = field(default_factory=threading.Lock)


class Slot:
    """A batch that is being filled."""

    def __init__(self, buffer: object, rows: int) -> None:
        self.buffer, self.missing = buffer, rows
        self.found: list[tuple | None] = [None] * rows  # (label, id, index) of each row; None: the sample is bad


class Epoch:
    """Threads that read an epoch of a loader; `slots_in_order` is called by the consumer, `stop` by anybody."""

    def __init__(self, loader: Source, number: int) -> None:
        self.loader, self.number, self.order = loader, number, loader.order(number)
        self.tasks: queue.SimpleQueue = queue.SimpleQueue()
        self.events: queue.SimpleQueue = queue.SimpleQueue()
        self.slots: dict[int, Slot] = {}
        self.running: set[Task] = set()
        self.threads: list[threading.Thread] = []
        self.stopped = threading.Event()
        stop_at_exit(self)
        try:
            for _ in range(loader.threads):
                self._start_thread()
        except ResourceError:
            self.stop()
            raise

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise ResourceError(
                f"no more threads can be started ({len(self.threads)} run); lower num_reader_threads "
                f"'{self.loader.threads}', or raise the limit of this machine (`ulimit -u`, `ulimit -v`)"
            ) from error
        self.threads.append(thread)

    def stop(self) -> None:
        """Tell the threads to end and wait for them. One that is stuck in a file is left behind."""
        self.stopped.set()
        for _ in self.threads:
            self.tasks.put(None)
        join(self.threads)

    # ---- in the consumer's thread

    def slots_in_order(self, start: int) -> Iterator[tuple[int, Slot]]:
        """(number, filled slot) of each batch from batch `start` on. Raises what a thread could not handle."""
        ahead = start
        for ready in range(start, len(self.loader)):
            while ahead < len(self.loader) and ahead - ready < self._depth():
                self._open(ahead)
                ahead += 1
            while self.slots[ready].missing:
                self._advance()
            yield ready, self.slots.pop(ready)

    def _depth(self) -> int:
        """Batches in preparation: enough to keep every thread busy, at most `buffer_bytes`, at least one."""
        loader = self.loader
        busy = 1 + -(-2 * loader.threads // max(1, loader.batch_size // loader.part[1]))
        largest = max((slot.buffer.nbytes for slot in self.slots.values()), default=0)
        return max(1, min(busy, loader.buffer_bytes // largest) if largest else busy)

    def _open(self, number: int) -> None:
        positions = self.loader.rows(number)
        self.slots[number] = Slot(self.loader.dataset.buffer(len(positions)), len(positions))
        for row, position in enumerate(positions):
            self.tasks.put(Task(number, row, position))

    def _advance(self) -> None:
        """Take one event from the threads, or look for a stuck thread."""
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

    def _abandon_stuck(self) -> None:
        now = time.monotonic()
        for task in list(self.running):
            with task.lock:
                stuck = task.alive and task.started and now - task.started > self.loader.timeout
                task.alive = task.alive and not stuck
            if stuck:
                self.running.discard(task)
                self.threads.remove(task.thread)  # nobody waits for it any more
                self._start_thread()
                self._failed(task, f"no answer within {self.loader.timeout:g} s")

    # ---- in the worker threads

    def _work(self) -> None:
        work_for(self.stopped)
        while not self.stopped.is_set():
            task = self.tasks.get()
            if task is None:
                return
            try:
                self._read(task)
            except Stopped:
                return
            except Exception as error:
                self.events.put(error)
                return
            if not task.alive:  # given up in the meantime: another thread has taken this one's place
                return

    def _read(self, task: Task) -> None:
        loader, index = self.loader, self._index(task)
        known = loader.bad.get(index)
        if not known and loader.lost:
            known = f"not read, since a connection was lost: {loader.lost}"
        if known:
            self._failed(task, known)
            return
        task.thread = threading.current_thread()
        task.started = time.monotonic()
        self.running.add(task)
        try:
            value, label, name = patiently(loader.dataset.read, index, self.number)
        except (DataError, RemoteError, MemoryError) as error:
            self._unreadable(task, error)
            return
        finally:
            self.running.discard(task)
        with task.lock:
            if task.alive:
                self.slots[task.batch].buffer[task.row] = value
                self.events.put((task.batch, task.row, (label, name, index)))

    def _index(self, task: Task) -> int:
        return int(self.order[task.position % len(self.order)])

    def _unreadable(self, task: Task, error: Exception) -> None:
        """Handle an error of `dataset.read`. Raises RemoteError in training."""
        with task.lock:
            alive = task.alive
        if isinstance(error, RemoteError):
            if self.loader.training:
                raise error
            self.loader.lost = self.loader.lost or str(error)
        if isinstance(error, MemoryError):
            error = f"'{self.loader.dataset.name(self._index(task))}' needs more memory than this machine has left"
        if alive:
            self._failed(task, str(error))

    def _failed(self, task: Task, reason: str) -> None:
        """Report the sample; in training put the next one of the order in its place."""
        try:
            self.loader.reject(self._index(task), reason)
        except DataError as error:
            self.events.put(error)
            return
        if self.loader.training:
            self.tasks.put(Task(task.batch, task.row, task.position + 1))
        else:
            self.events.put((task.batch, task.row, None))
