"""Numbers behind the pages: confusion, intervals, calibration, precision against recall, and tests of differences."""

import math
from dataclasses import dataclass

import numpy as np

Z95 = 1.959964  # two-sided 95 % of the normal distribution


def confusion(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Matrix int64 [true class, predicted class] of counts. labels, predicted: int [N]."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (np.asarray(labels, int), np.asarray(predicted, int)), 1)
    return matrix


def percent(part: int, whole: int) -> str:
    """`part` of `whole` in percent with two digits; "" if `whole` is 0."""
    return f"{100.0 * part / whole:.2f}" if whole else ""


def per_class(matrix: np.ndarray, names: list[str]) -> list[tuple]:
    """Rows (class, name, clips, correct, recall %, precision %) of a confusion matrix; "" where undefined."""
    clips, found, correct = matrix.sum(axis=1).tolist(), matrix.sum(axis=0).tolist(), matrix.diagonal().tolist()
    return [
        (i, name, clips[i], correct[i], percent(correct[i], clips[i]), percent(correct[i], found[i]))
        for i, name in enumerate(names)
    ]


def confused_pairs(matrix: np.ndarray, count: int = 20) -> list[tuple[int, int, int]]:
    """The most frequent confusions as (true class, predicted class, clips), most frequent first."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [(*map(int, np.unravel_index(place, wrong.shape)), int(wrong.flat[place])) for place in order]
    return [pair for pair in pairs if pair[2]]


def wilson(correct: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion, in percent (Wilson, 1927). Unlike the normal one it never leaves 0..100."""
    if not total:
        return 0.0, 100.0
    share, square = correct / total, Z95**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = Z95 / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy in equal bins of [0, 1]. Arrays [bins]; means are 0 in an empty bin."""

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy, by clips (Guo et al., ICML 2017)."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float((gaps * self.counts).sum() / max(1, self.counts.sum()))


def calibration(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> Calibration:
    """Of the probability of the predicted class, float [N], and whether it is the true one, bool [N]."""
    confidence = np.asarray(confidence, np.float64)
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # bins are open on the left
    counts = np.bincount(places, minlength=bins)
    filled = np.maximum(counts, 1)
    return Calibration(
        counts,
        np.bincount(places, confidence, bins) / filled,
        np.bincount(places, np.asarray(correct, np.float64), bins) / filled,
    )


def precision_recall(
    scores: np.ndarray, hits: np.ndarray, positives: int, points: int = 400
) -> tuple[np.ndarray, np.ndarray]:
    """(recall, precision), at most `points` each, of pooled (score, hit) pairs [N], best score first.

    `positives`: true pairs in all, pooled or not.
    """
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(hits[order])
    recall, precision = found / max(1, positives), found / np.arange(1, len(found) + 1)
    kept = np.unique(np.linspace(0, len(found) - 1, min(points, len(found))).astype(int))
    return recall[kept], precision[kept]


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test (1947): are two models equally often right on the same clips?

    Counts of the clips that only one of the two has right. With many such clips the sum runs over integers of thousands
    of digits, which takes well under a second for 20,000 of them.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    term, tail = 1, 1
    for i in range(fewer):
        term = term * (total - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / 2**total)
