"""Do the next items of an iterator in a thread while the caller works on those before."""

import contextlib
import math
import queue
import threading
import time
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

from datareader.stopping import THREAD_NAME, Stopped, join, stop_at_exit, work_for
from utils.errors import DataError, ResourceError

__all__ = ["ahead"]

Item = TypeVar("Item")
POLL_SECONDS = 0.2
END = object()


def ahead(items: Generator[Item, None, None], depth: int, timeout: float = math.inf) -> Iterator[Item]:
    """The items in order, up to `depth` of them made in advance.

    timeout: seconds after which a thread that neither gives an item nor asks `check_stopped` is given up
    Raises what `items` raises; DataError for a thread that was given up; ResourceError.
    """
    run = _Run(items, depth, timeout)
    try:
        while (item := run.next()) is not END:
            yield item
    finally:
        run.stop()


class _Heard(threading.Event):
    """An event that knows when it was last asked for: a sign of life of the thread that asks."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = time.monotonic()

    def is_set(self) -> bool:
        self.asked = time.monotonic()
        return super().is_set()


class _Run(Generic[Item]):
    """The thread that works ahead."""

    def __init__(self, items: Generator[Item, None, None], depth: int, timeout: float) -> None:
        self.items, self.ready, self.timeout = items, queue.Queue(depth), timeout
        self.stopped = _Heard()
        self.thread = threading.Thread(target=self._work, name=THREAD_NAME, daemon=True)
        stop_at_exit(self)
        try:
            self.thread.start()
        except RuntimeError as error:
            raise ResourceError("no more threads can be started; raise the limit (`ulimit -u`, `ulimit -v`)") from error

    def next(self) -> Item | object:
        """The next item, or END."""
        while True:
            with contextlib.suppress(queue.Empty):  # a wait without end would not see Ctrl-C on every system
                found = self.ready.get(timeout=POLL_SECONDS)
                if isinstance(found, BaseException):
                    raise found
                return found
            if time.monotonic() - self.stopped.asked > self.timeout:
                raise DataError(f"no answer within {self.timeout:g} s")

    def stop(self) -> None:
        """Tell the thread to end and wait for it."""
        self.stopped.set()
        join([self.thread])

    def _work(self) -> None:
        work_for(self.stopped)
        try:
            with contextlib.closing(self.items):
                for item in self.items:
                    self._put(item)
            self._put(END)
        except Stopped:
            return
        except Exception as error:
            with contextlib.suppress(Stopped):
                self._put(error)

    def _put(self, item: object) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(queue.Full):
                self.ready.put(item, timeout=POLL_SECONDS)
                return
        raise Stopped
