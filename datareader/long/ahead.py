"""Do the next items of an iterator in a thread while the caller works on those before."""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Generic, TypeVar

from datareader.stopping import THREAD_NAME, Stopped, join, stop_at_exit, work_for
from utils.errors import ResourceError

__all__ = ["ahead"]

Item = TypeVar("Item")
POLL_SECONDS = 0.2
END = object()


def ahead(items: Generator[Item, None, None], depth: int) -> Iterator[Item]:
    """The items in order, up to `depth` of them made in advance. Raises what `items` raises; ResourceError."""
    run = _Run(items, depth)
    try:
        while (item := run.next()) is not END:
            yield item
    finally:
        run.stop()


class _Run(Generic[Item]):
    """The thread that works ahead."""

    def __init__(self, items: Generator[Item, None, None], depth: int) -> None:
        self.items, self.ready = items, queue.Queue(depth)
        self.stopped = threading.Event()
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
