"""Windows of frames that arrive one by one: from a decoder, or from a program of the caller's (a camera).

How many frames a window has, and so which of them the model sees, is known only at its end. Each frame is therefore
scaled when it comes, which makes it small, and kept for the length of a window.
"""

from collections.abc import Iterable, Iterator
from numbers import Real

import numpy as np

from datareader.long.clip import Clip, Sampler, as_clip
from datareader.long.windows import MICRO, Planner, Span
from utils.errors import DataError, shown

__all__ = ["Arriving", "caller_windows"]


class Arriving:
    """Takes frames in display order; `add` and `finish` return the windows that became complete, from `first` on."""

    def __init__(self, planner: Planner, sampler: Sampler, first: int = 0) -> None:
        self.planner, self.sampler, self.first = planner, sampler, first
        self.arrays: dict[int, np.ndarray] = {}  # by the number of the frame
        self.count, self.dropped = 0, 0

    def add(self, time: int, duration: int, array: np.ndarray) -> list[Clip]:
        """Take a frame, scaled by `Sampler.scale`; times in microseconds. Raises DataError."""
        spans = self.planner.add(time, self.count, duration)
        self.arrays[self.count] = array
        self.count += 1
        return self._clips(spans)

    def finish(self) -> list[Clip]:
        """The windows at the end."""
        return self._clips(self.planner.finish())

    def _clips(self, spans: list[Span]) -> list[Clip]:
        found = []
        for span in spans:
            if span.number >= self.first:
                picked = [span.keys[index] for index in self.sampler.pick(len(span.keys))]
                found.append(as_clip(span, [self.arrays[key] for key in picked], self.sampler))
        while self.dropped < (self.planner.horizon or 0):
            del self.arrays[self.dropped]
            self.dropped += 1
        return found


def caller_windows(
    frames: Iterable[tuple[float, np.ndarray]], window: int, stride: int, sampler: Sampler
) -> Iterator[Clip]:
    """The windows of frames (timestamp in seconds, RGB uint8 [H, W, 3]), each as soon as a frame after it has come.

    window, stride: microseconds. Raises DataError for what is no frame and for timestamps that do not ascend.
    """
    planner = Planner(window, stride)
    arriving, before, duration = Arriving(planner, sampler), None, 0
    for time, frame in frames:
        time = _micro(time)
        if before is not None and time <= before:
            raise DataError(
                f"a frame's timestamp is '{time / MICRO:g}' s, after one of '{before / MICRO:g}' s; they must ascend"
            )
        duration = time - before if before is not None else 0
        before = time
        yield from arriving.add(time, duration, sampler.scale(_checked(frame)))
    yield from arriving.finish()


def _micro(time: float) -> int:
    if not isinstance(time, Real) or not abs(float(time)) < 1e12:
        raise DataError(f"a frame's timestamp is '{shown(time)}'; expected seconds")
    return round(float(time) * MICRO)


def _checked(frame: np.ndarray) -> np.ndarray:
    if isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3:
        return np.ascontiguousarray(frame)
    found = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
    raise DataError(f"a frame is '{found}'; expected RGB, a numpy array uint8 [height, width, 3]")
