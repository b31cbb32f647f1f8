"""Stopping a training at a step's boundary."""

import signal
import threading
import time

PATIENCE = {signal.SIGINT: 0.0, signal.SIGTERM: 2.0}  # seconds within which signals of a kind count as one


class Interrupted(KeyboardInterrupt):
    """Training stopped between two steps, all its processes at the same one, and what there is was saved."""


class StopRequest:
    """Turns the first Ctrl-C or SIGTERM into a wish, honoured between two steps, so that what is saved is exact.
    A second one of the kind interrupts at once (a launcher sends SIGTERM when Ctrl-C reached all). Paddle's launcher sends SIGTERM
    three times within 0.6 s, and waits half a minute: these count as one. Outside the main thread it does nothing."""

    def __init__(self):
        self.requested, self._first, self._before = False, {}, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number, frame):
        now = time.monotonic()
        if number in self._first and now - self._first[number] >= PATIENCE[number]:
            raise KeyboardInterrupt
        self._first.setdefault(number, now)
        self.requested = True

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)
