"""Scores of segments against the true ones, by the rule of ActivityNet (Caba Heilbron et al., CVPR 2015).

A segment is right if its overlap with a true segment of its class (intersection over union in time) reaches the
threshold, and no segment of a higher score has taken that one. Average precision is the area below the curve of
precision, made falling, over recall. The mean goes over the classes that have true segments.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["THRESHOLDS", "Span", "average_precisions", "overlap", "right_seconds", "scores"]

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # 0.5, 0.55, ... 0.95


class Span(NamedTuple):
    """A segment of a video: seconds, the name of its class, and its score (of no meaning where it is a true one)."""

    start: float
    end: float
    label: str
    score: float = 1.0


Videos = Mapping[str, Sequence[Span]]  # by the id of the video


def overlap(one: Span, other: Span) -> float:
    """Intersection over union of two segments in time, 0 to 1."""
    common = max(0.0, min(one.end, other.end) - max(one.start, other.start))
    union = (one.end - one.start) + (other.end - other.start) - common
    return common / union if union > 0 else 0.0


def average_precisions(truth: Videos, found: Videos, threshold: float) -> dict[str, float]:
    """{class: average precision} of the classes that `truth` has, at one threshold of overlap."""
    return {
        label: _average_precision(_of_class(truth, label), _of_class(found, label), threshold)
        for label in sorted({span.label for spans in truth.values() for span in spans})
    }


def scores(truth: Videos, found: Videos) -> dict[str, float]:
    """{"map_50", "map_75", "map_95", "map", "seconds"}, all in percent.

    Mean average precisions at overlaps of 0.5, 0.75 and 0.95, their mean over THRESHOLDS, and the share of the true
    seconds that have their class.
    """
    means = {
        threshold: 100 * float(np.mean(list(average_precisions(truth, found, threshold).values())))
        for threshold in THRESHOLDS
    }
    return {
        "map_50": means[0.5],
        "map_75": means[0.75],
        "map_95": means[0.95],
        "map": float(np.mean(list(means.values()))),
        "seconds": 100 * right_seconds(truth, found),
    }


def right_seconds(truth: Videos, found: Videos) -> float:
    """Share of the time of all true segments in which a found segment has their class."""
    total = right = 0.0
    for name, spans in truth.items():
        for span in spans:
            total += span.end - span.start
            right += sum(
                max(0.0, end - start)
                for start, end in _united(span, [s for s in found.get(name, []) if s.label == span.label])
            )
    return right / total if total else 0.0


def _united(span: Span, others: Sequence[Span]) -> list[tuple[float, float]]:
    """The parts of a segment that others cover, none twice."""
    parts, reached = [], span.start
    for other in sorted(others):
        start, end = max(reached, other.start), min(span.end, other.end)
        if end > start:
            parts.append((start, end))
            reached = end
    return parts


def _of_class(videos: Videos, label: str) -> dict[str, list[Span]]:
    return {name: [span for span in spans if span.label == label] for name, spans in videos.items()}


def _average_precision(truth: Videos, found: Videos, threshold: float) -> float:
    """Of one class; equal scores keep their order."""
    ranked = sorted(((span, name) for name, spans in found.items() for span in spans), key=_score, reverse=True)
    taken, hits = set(), []
    for span, name in ranked:
        hit = _best_free(span, name, truth.get(name, []), taken, threshold)
        if hit is not None:
            taken.add((name, hit))
        hits.append(hit is not None)
    right = np.cumsum(hits)
    recall = np.concatenate([[0], right / sum(map(len, truth.values())), [1]])
    precision = np.concatenate([[0], right / np.arange(1, len(hits) + 1), [0]])
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * falling[1:]))


def _score(ranked: tuple[Span, str]) -> float:
    return ranked[0].score


def _best_free(span, name, truth, taken, threshold) -> int | None:
    """Index of the true segment with the largest overlap that reaches the threshold and is not taken."""
    overlaps = [overlap(span, other) for other in truth]
    free = [index for index, share in enumerate(overlaps) if share >= threshold and (name, index) not in taken]
    return max(free, key=overlaps.__getitem__, default=None)
