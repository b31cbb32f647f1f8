"""Numbers of the pages against values known from papers or counted by hand."""

import numpy as np
import pytest

from reports import statistics


def test_confusion_and_classes():
    matrix = statistics.confusion([0, 0, 1, 2], [0, 1, 1, 0], 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    rows = statistics.per_class(matrix, ["a", "b", "c", "d"])
    assert rows == [
        (0, "a", 2, 1, "50.00", "50.00"),
        (1, "b", 1, 1, "100.00", "50.00"),
        (2, "c", 1, 0, "0.00", ""),
        (3, "d", 0, 0, "", ""),
    ]


def test_most_confused_pairs_leave_out_the_diagonal_and_what_never_happened():
    matrix = np.array([[9, 1, 0], [3, 9, 0], [0, 0, 9]])
    assert statistics.confused_pairs(matrix) == [(1, 0, 3), (0, 1, 1)]
    assert statistics.confused_pairs(np.diag([5, 5])) == []


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    # Of 81 in 263: Newcombe, Statistics in Medicine 17 (1998), table I.
    [(81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05), (0, 20, 0.0, 16.11), (1, 29, 0.61, 17.18)],
)
def test_wilson(correct, total, low, high):
    assert statistics.wilson(correct, total) == pytest.approx((low, high), abs=0.01)


def test_wilson_of_all_and_of_none():
    assert statistics.wilson(10, 10)[1] == pytest.approx(100)
    assert statistics.wilson(0, 0) == (0.0, 100.0)


def test_calibration_error_by_hand():
    found = statistics.calibration(np.array([0.95, 0.95, 0.55, 1.0]), np.array([True, False, True, True]), bins=10)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    # |0.55 - 1| of one clip and |0.9667 - 0.6667| of three
    assert found.error == pytest.approx((0.45 + 3 * 0.3) / 4)


def test_confidence_zero_is_in_the_first_bin():
    assert statistics.calibration(np.array([0.0]), np.array([False])).counts[0] == 1


def test_precision_at_recall():
    scores, hits = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    recall, precision = statistics.precision_recall(scores, hits, positives=4)
    assert recall.tolist() == [0.25, 0.25, 0.5, 0.5]
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])


@pytest.mark.parametrize(("first", "second", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64), (5, 15, 0.04138947)])
def test_mcnemar(first, second, p):
    assert statistics.mcnemar(first, second) == statistics.mcnemar(second, first) == pytest.approx(p)


def test_mcnemar_of_many_clips_is_exact():
    assert 0 < statistics.mcnemar(9000, 11000) < 1e-40
