"""Ending reader threads: soon after a request, and before the interpreter ends.

A thread that still decodes while the interpreter shuts down makes the process abort (SIGABRT) after its work is done.
"""

import atexit
import threading
import time
import weakref
from collections.abc import Iterable

__all__ = ["Stopped", "check_stopped", "join", "stop_at_exit", "work_for"]

JOIN_SECONDS = 10.0  # that threads are waited for; a decoder looks every packet whether it should stop
THREAD_NAME = "reader"

_current = threading.local()
_live: weakref.WeakSet = weakref.WeakSet()


class Stopped(Exception):
    """Raised in a reader thread when its results are no longer needed."""


def work_for(event: threading.Event) -> None:
    """From now on `check_stopped` in this thread looks at `event`."""
    _current.event = event


def check_stopped() -> None:
    """To be called often by long operations. Raises Stopped in a reader thread that was told to end."""
    event = getattr(_current, "event", None)
    if event is not None and event.is_set():
        raise Stopped


def join(threads: Iterable[threading.Thread], seconds: float = JOIN_SECONDS) -> None:
    """Wait for threads to end, at most `seconds` for all of them together."""
    deadline = time.monotonic() + seconds
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


def stop_at_exit(run: object) -> None:
    """Call `run.stop()` when the interpreter ends, unless `run` is gone by then."""
    _live.add(run)


@atexit.register
def _stop_all() -> None:
    for run in list(_live):
        run.stop()
