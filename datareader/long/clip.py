"""A window of a video as a sample, and how a model looks at it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from datareader.long.windows import MICRO, Span
from utils.errors import DataError

__all__ = ["Clip", "Sampler", "as_clip"]


class Sampler(NamedTuple):
    """How a model looks at a clip."""

    pick: Callable[[int], list[int]]  # from a number of frames to the indices of those it sees
    scale: Callable[[np.ndarray], np.ndarray]  # from a frame, RGB uint8 [H, W, 3], to what is kept of it
    arrange: Callable[[np.ndarray], np.ndarray]  # from the stacked results to a sample


class Clip(NamedTuple):
    """A window as a sample."""

    number: int
    start: float  # seconds
    end: float
    frames: np.ndarray  # uint8, as `Sampler.arrange` gives it


def as_clip(span: Span, arrays: Sequence[np.ndarray], sampler: Sampler) -> Clip:
    """The sample of the frames that a window picked. Raises DataError where they differ in shape."""
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise DataError(f"frames differ in shape, {sorted(shapes)}; scale them to one size")
    return Clip(span.number, span.start / MICRO, span.end / MICRO, sampler.arrange(np.stack(arrays)))
