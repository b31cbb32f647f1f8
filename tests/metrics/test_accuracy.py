"""Top-k accuracy: the old zoo's reference values, and what it got wrong."""

import numpy as np
import pytest

from metrics.accuracy import Accuracy
from utils.errors import DataError

i, j = np.indices((4, 6))
SCORES = ((7 * i + 3 * j + i * j) % 11) / 11


def test_reference_values():
    metric = Accuracy(6)
    metric.update(SCORES, [3, 2, 0, 5], loss=1.0)
    assert metric.result() == {"loss": 1.0, "top1": 25.0, "top5": 100.0}
    metric.update(SCORES[:1], [3], loss=2.0)
    assert metric.result() == {"loss": pytest.approx(1.2), "top1": 40.0, "top5": 100.0}  # weighted by samples


def test_fewer_than_five_classes():
    metric = Accuracy(2)
    metric.update(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([[0], [1]]), loss=0.5)
    assert metric.result() == {"loss": 0.5, "top1": 50.0, "top2": 100.0}


def test_line_is_what_old_log_scrapers_know():
    assert (
        Accuracy.line({"loss": 5.991465, "top1": 0.0, "top5": 3.125})
        == "\tLoss: 5.991465,\ttop1_acc: 0.00, \ttop5_acc: 3.12, "
    )


def test_nothing_scored_is_an_error():
    with pytest.raises(DataError, match="nothing was scored"):
        Accuracy(6).result()


def test_equal_scores_and_nan_are_not_right_answers():
    metric = Accuracy(3, topk=1)
    metric.update(np.array([[0.5, 0.5, 0.0], [np.nan] * 3]), [0, 0], loss=0.0)
    assert metric.result()["top1"] == 0.0


def test_three_classes():
    metric = Accuracy(3)
    metric.update(np.array([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.2, 0.3, 0.5]]), [1, 0, 0], loss=1.0)
    assert metric.result() == {"loss": 1.0, "top1": pytest.approx(100 / 3), "top3": 100.0}
    metric = Accuracy(3, topk=2)
    metric.update(np.array([[0.5, 0.3, 0.2], [0.6, 0.1, 0.3], [0.2, 0.3, 0.5]]), [1, 0, 0], loss=1.0)
    assert metric.result() == {"loss": 1.0, "top1": pytest.approx(100 / 3), "top2": pytest.approx(200 / 3)}
