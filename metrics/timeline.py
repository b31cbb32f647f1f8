"""Scores over time: of windows, and the segments that are read from them.

The score of class c at time t is q(t, c), the mean of p_k(c) over the windows k that cover t. It changes only where a
window starts or ends, which divides time into cells. Each cell has the class of its largest q, or none where that is
below the threshold. Neighbouring cells of one class are one segment, whose score is the mean of q over its time. A
segment shorter than `min_seconds` is left out: its time has no class. Time that no window covers has none either.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

__all__ = ["Segment", "Timeline", "Window", "cells", "segments", "smoothed"]


@dataclass(frozen=True)
class Window:
    """What the model says of a stretch of a video."""

    start: float  # seconds
    end: float
    probabilities: np.ndarray  # float32 [classes]


@dataclass(frozen=True)
class Segment:
    """A stretch of a video with one class; `index` is None for the name that stands for "unsure"."""

    start: float  # seconds
    end: float
    index: int | None
    name: str
    score: float  # mean probability of the class, of the best one where unsure


@dataclass(frozen=True)
class Timeline:
    """A video's windows and segments, both in order; segments do not overlap.

    names: of the classes, in index order
    """

    windows: list[Window]
    segments: list[Segment]
    names: list[str] = field(default_factory=list)

    @property
    def scores(self) -> np.ndarray:
        """float32 [windows, classes]."""
        rows = [window.probabilities for window in self.windows]
        return np.stack(rows) if rows else np.zeros((0, len(self.names)), np.float32)


def smoothed(scores: np.ndarray, size: int) -> np.ndarray:
    """Scores [windows, classes], each the median over `size` neighbouring windows (odd; fewer at both ends)."""
    half = size // 2
    if not half:
        return scores
    rows = [np.median(scores[max(0, k - half) : k + half + 1], axis=0) for k in range(len(scores))]
    return np.stack(rows)


def cells(windows: Sequence[Window], scores: np.ndarray) -> list[tuple[float, float, np.ndarray]]:
    """(start, end, q [classes]) of the stretches of time with one set of covering windows, in order."""
    edges = sorted({time for window in windows for time in (window.start, window.end)})
    found, first = [], 0
    for start, end in pairwise(edges):
        while windows[first].end <= start:  # windows are in order of both start and end
            first += 1
        last = first
        while last < len(windows) and windows[last].start <= start:
            last += 1
        if last > first:
            found.append((start, end, scores[first:last].mean(axis=0)))
    return found


def segments(
    windows: Sequence[Window],
    names: Sequence[str],
    threshold: float = 0.0,
    min_seconds: float = 0.0,
    smooth: int = 1,
    unsure: str | None = None,
) -> list[Segment]:
    """The segments of windows in order of time.

    threshold: lowest score that gives a cell its class
    min_seconds: shorter segments are left out
    smooth: windows over which the median of each class's scores is taken first
    unsure: a name for covered time without a class, which then is in segments too
    """
    if not windows:
        return []
    scores = smoothed(np.stack([window.probabilities for window in windows]), smooth)
    runs = _runs(
        (start, end, int(q.argmax()) if q.max() >= threshold else None, float(q.max()))
        for start, end, q in cells(windows, scores)
    )
    runs = [(start, end, None if end - start < min_seconds else index, score) for start, end, index, score in runs]
    return [
        Segment(start, end, index, unsure if index is None else names[index], score)
        for start, end, index, score in _runs(runs)
        if index is not None or unsure is not None
    ]


def _runs(stretches):
    """Neighbouring (start, end, index, score) of one index as one, with the mean score over its time."""
    found = []
    for start, end, index, score in stretches:
        weight = (end - start) * score
        if found and found[-1][2] == index and found[-1][1] == start:
            found[-1] = (found[-1][0], end, index, found[-1][3] + weight)
        else:
            found.append((start, end, index, weight))
    return [(start, end, index, weight / (end - start)) for start, end, index, weight in found]
