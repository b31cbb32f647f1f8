"""Which windows of time a long video has, and which frames each of them holds. No file is read here.

Times are whole microseconds, so that `0.1 + 0.2` is `0.3`. Window k starts `k * stride` after the first frame. A frame
belongs to a window if its timestamp lies in [start, end); a window between two far timestamps holds the frame on show.
The tail, which no whole window reaches, gets one more window of full length that ends with the video. A video shorter
than a window is one window.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from utils.errors import ConfigError, DataError

__all__ = ["MICRO", "Planner", "Span", "check_stride", "microseconds", "spans"]

MICRO = 1_000_000
SHORTEST = 0.01  # seconds
LONGEST = 86_400.0


class Span(NamedTuple):
    """A window: its number, start and end in microseconds, and the keys of its frames in display order."""

    number: int
    start: int
    end: int
    keys: list[Hashable]


def microseconds(seconds: float, name: str) -> int:
    """The length that an argument called `name` gives. Raises ConfigError where no window can have it."""
    if not SHORTEST <= seconds <= LONGEST:  # also for NaN
        raise ConfigError(f"{name} '{seconds:g}' is not a length; give seconds between {SHORTEST:g} and {LONGEST:g}")
    return round(seconds * MICRO)


def check_stride(window: int, stride: int) -> None:
    """Raises ConfigError where windows would leave seconds out."""
    if stride > window:
        raise ConfigError(
            f"--stride_seconds '{stride / MICRO:g}' is longer than --window_seconds '{window / MICRO:g}': the seconds "
            "between windows would be in none; give at most the window's length"
        )


def spans(duration: float, window: float, stride: float) -> list[tuple[float, float]]:
    """(start, end) in seconds of all windows of a video whose frames follow one another without a pause.

    The rule of this module as a function of numbers; `Planner` applies it to frames. Raises ConfigError.
    """
    length, step = microseconds(window, "window"), microseconds(stride, "stride")
    check_stride(length, step)
    end = round(duration * MICRO)
    starts = list(range(0, max(0, end - length) + 1, step))
    found = [(start, min(end, start + length)) for start in starts]
    if found[-1][1] < end:
        found.append((end - length, end))
    return [(start / MICRO, stop / MICRO) for start, stop in found]


class Planner:
    """Windows of frames that come in display order: each is known once a frame at or after its end has come.

    `add` and `finish` return the windows that became known. Frames before `horizon` (a key) are in no later window, so
    that whoever holds frames may drop those. `longest`: seconds that timestamps may span.
    """

    def __init__(self, window: int, stride: int, longest: float = LONGEST) -> None:
        check_stride(window, stride)
        self.window, self.stride, self.longest = window, stride, round(longest * MICRO)
        self.frames: deque[tuple[int, Hashable]] = deque()  # (time, key), from the horizon on
        self.origin: int | None = None
        self.number, self.end = 0, 0  # of the next window; end of the frame added last

    @property
    def horizon(self) -> Hashable | None:
        """Key of the first frame that a later window may hold; None before the first frame."""
        return self.frames[0][1] if self.frames else None

    def add(self, time: int, key: Hashable, duration: int) -> list[Span]:
        """Take the next frame; `duration`: how long it is on show, if no other follows. Raises DataError."""
        if self.origin is None:
            self.origin = time
        if time - self.origin > self.longest:
            raise DataError(
                f"its timestamps run to '{time / MICRO:.0f}' s, past MODEL.max_seconds '{self.longest / MICRO:g}'; "
                "re-encode it, or raise the limit if the video is that long"
            )
        found = list(self._whole(time))
        self.frames.append((time, key))
        self.end = time + max(1, duration)
        # The tail's window may start anywhere after `time - window`; the frame on show then must be here still.
        while len(self.frames) > 1 and self.frames[1][0] <= time - self.window:
            self.frames.popleft()
        return found

    def finish(self) -> list[Span]:
        """The windows at the end of the video."""
        if self.origin is None:
            return []
        last, found = self.frames[-1][0], list(self._whole(self.end))
        covered = self.origin + (self.number - 1) * self.stride + self.window if self.number else self.origin
        if last >= covered:
            found.append(self._span(max(self.origin, self.end - self.window), self.end))
        elif found:  # the last frame is on show for a little longer
            found[-1] = found[-1]._replace(end=self.end)
        return found

    def _whole(self, until: int) -> Iterator[Span]:
        """Windows of full length that end by `until`."""
        while True:
            start = self.origin + self.number * self.stride
            if start + self.window > until:
                return
            yield self._span(start, start + self.window)

    def _span(self, start: int, end: int) -> Span:
        keys = [key for time, key in self.frames if start <= time < end]
        if not keys:
            keys = [[key for time, key in self.frames if time <= start][-1]]
        self.number += 1
        return Span(self.number - 1, start, end, keys)
