"""Stopping a training between two steps when the user or the system asks for it."""

import signal
import threading
import time
from collections.abc import Mapping
from types import FrameType

import numpy as np

from engine.distributed.group import Group

__all__ = ["Interrupted", "StopSignal"]

# Seconds within which repeated signals of a kind count as one.
PATIENCE = {signal.SIGINT: 0.0, signal.SIGTERM: 2.0}
if hasattr(signal, "SIGHUP"):  # not on Windows
    PATIENCE[signal.SIGHUP] = 2.0


class Interrupted(KeyboardInterrupt):
    """Training stopped between two steps, in all processes at the same step, and its state was saved."""


class StopSignal:
    """Context in which the first Ctrl-C, SIGTERM or SIGHUP only asks training to stop at the next step.

    A second signal of the same kind raises KeyboardInterrupt at once. Paddle's launcher sends SIGTERM three times
    within 0.6 s and then waits half a minute, so SIGTERMs within two seconds count as one. A SIGHUP that is ignored
    (nohup) stays ignored. Outside the main thread, where Python allows no signal handlers, the context does nothing.

    requested: this process was asked to stop
    agreed: all processes of `group` know that one of them was asked; they change their minds at the same step
    patience: {signal: seconds within which repeated ones count as one}
    """

    def __init__(self, group: Group | None = None, patience: Mapping[int, float] = PATIENCE):
        self.group, self.patience = group or Group(), patience
        self.requested = False
        self._agreed = False
        self._received = {}
        self._handlers_before = {}

    @property
    def agreed(self) -> bool:
        """Whether to stop now; the same answer in every process."""
        return self._agreed if self.group.world > 1 else self.requested

    def set_agreed(self, agreed: bool) -> None:
        """Store the answer that all processes agreed on within a step."""
        self._agreed = agreed

    def agree(self) -> bool:
        """Ask all processes whether one of them was asked to stop. Every process must call this at the same place."""
        if self.group.world > 1:
            wishes = self.group.gather({"requested": np.array([self.requested])})
            self._agreed = self.group.broadcast_object(any(bool(each["requested"][0]) for each in wishes))
        return self.agreed

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in self.patience:
                if number is signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers_before[number] = signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number in self._received and now - self._received[number] >= self.patience[number]:
            raise KeyboardInterrupt
        self._received.setdefault(number, now)
        self.requested = True

    def __exit__(self, *_) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
