import heapq
import random

import numpy as np
import pytest

from metrics.youtube8m import YouTube8M, average_precision, hits_at_one
from utils.errors import ConfigError, DataError

VIDEO, CLASS = np.arange(4)[:, None], np.arange(6)[None]
SCORES = (7 * VIDEO + 3 * CLASS + VIDEO * CLASS) % 11 / 11.0  # no ties in a row, many between rows
LABELS = np.array([[1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]])


def scored(scores, labels, loss=1.5, topk=20):
    metric = YouTube8M(labels.shape[1], topk)
    metric.update(scores, labels, loss)
    return metric.result()


def random_batch(videos=60, classes=40, levels=None, seed=0):
    """Scores that are distinct, or of only `levels` values, and sparse labels that agree with them somewhat."""
    rng = np.random.default_rng(seed)
    scores = rng.random((videos, classes)).astype(np.float32)
    labels = rng.random((videos, classes)) < 0.1 * scores
    return (scores if levels is None else np.round(scores * levels) / levels), labels.astype(np.float32)


def old_average_precision(scores, hits, positives):
    """The calculator of old zoo v1.3, pair by pair."""
    heap, value, found = [], 0.0, 0
    for pair in zip(scores, hits, strict=True):
        heapq.heappush(heap, pair)
    shuffled = [heap[i] for i in random.Random(0).sample(range(len(heap)), len(heap))]
    for rank, (_, hit) in enumerate(sorted(shuffled, key=lambda pair: pair[0], reverse=True), 1):
        found += hit
        value += hit * found / rank / positives
    return value


@pytest.mark.parametrize("topk, gap", [(20, 0.4337148495761941), (2, 0.22857142857142854)])
def test_one_batch_gives_the_old_numbers(topk, gap):
    result = scored(SCORES, LABELS, topk=topk)
    assert result["hit_at_one"] == 0.5
    assert result["perr"] == pytest.approx(0.20833333333333331, rel=1e-12)
    assert result["gap"] == pytest.approx(gap, rel=1e-12)


def test_an_epoch_gives_the_old_numbers():
    metric = YouTube8M(6, topk=2)
    metric.update(SCORES, LABELS, 1.5)
    metric.update(SCORES[:2], LABELS[:2], 0.5)
    assert metric.average_precisions().tolist() == [0, 1, 0, 1, 0, 1]
    wanted = {
        "loss": 1.1666666666666667,
        "hit_at_one": 0.5,
        "perr": 0.2222222222222222,
        "gap": 0.21666666666666667,
        "map": 0.5,
    }
    assert metric.result() == pytest.approx(wanted, rel=1e-12)


def test_hit_at_one_looks_at_the_videos_own_labels():
    """Old zoo v1.8.0 averaged the whole matrix of rows against predictions: 0.3125 here."""
    hits = hits_at_one(SCORES, LABELS > 0)
    assert hits.tolist() == [True, False, True, False]
    assert (LABELS[:, SCORES.argmax(axis=1)]).mean() == 0.3125


def test_the_global_random_generator_is_left_alone():
    """The old zoo seeded it at every log line, so that each shuffle after a log repeated the last one."""
    random.seed(7)
    before = random.getstate()
    scored(SCORES, LABELS)
    assert random.getstate() == before


@pytest.mark.parametrize("levels", [2, 10, 1000])
def test_ties_are_ranked_as_the_old_calculator_ranked_them(levels):
    scores, hits = (part.reshape(-1) for part in random_batch(levels=levels))
    hits = hits > 0
    wanted = old_average_precision(scores.tolist(), hits.tolist(), 500)
    assert average_precision(scores, hits, 500) == pytest.approx(wanted, rel=1e-12)


def test_without_ties_neither_the_order_of_batches_nor_their_size_matters():
    scores, labels = random_batch()
    whole = scored(scores, labels)
    metric = YouTube8M(40)
    for part in np.array_split(np.random.default_rng(1).permutation(60), 7):
        metric.update(scores[part], labels[part], 1.5)
    assert metric.result() == pytest.approx(whole, rel=1e-12)


def test_every_true_label_counts_in_gap_even_outside_the_top_k():
    scores, labels = np.array([[0.9, 0.8, 0.1]]), np.array([[1, 0, 1]])
    assert scored(scores, labels, topk=2)["gap"] == 0.5
    assert scored(scores, labels, topk=3)["gap"] == pytest.approx((1 + 2 / 3) / 2)


def test_perr_with_more_labels_than_top_k_with_none_and_with_zero_scores():
    scores = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.7, 0.1], [0.0, 0.0, 0.0, 0.0]])
    labels = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
    assert scored(scores, labels, topk=1)["perr"] == pytest.approx((2 / 3 + 0 + 0) / 3)


def test_perfect_and_label_free_predictions():
    labels = np.eye(5)
    perfect = {"loss": 1.5, "hit_at_one": 1.0, "perr": 1.0, "gap": 1.0, "map": 1.0}
    assert scored(0.5 + labels / 3, labels) == {**perfect, "top1": 100.0, "top5": 100.0}
    assert scored(labels, np.zeros((5, 5))) == {"loss": 1.5, "hit_at_one": 0.0, "perr": 0.0, "gap": 0.0, "map": 0.0}


def test_log_lines_are_the_old_ones():
    result = scored(SCORES, LABELS)
    assert YouTube8M.line(result) == " , loss = 1.500000, Hit@1 = 0.50, PERR = 0.21, GAP = 0.43"
    closing = {"loss": 1.5, "hit_at_one": 0.5, "perr": 0.25, "gap": 0.125, "map": 0.75}
    assert (
        YouTube8M.line(closing, final=True)
        == "\tavg_hit_at_one: 0.5,\tavg_perr: 0.25,\tavg_loss :1.5,\tmAP: 0.75,\tgap:0.125"
    )


def test_reset_starts_afresh_and_nothing_scored_is_an_error():
    metric = YouTube8M(6)
    metric.update(SCORES, LABELS, 9.0)
    metric.reset()
    for ask in (metric.result, metric.average_precisions):
        with pytest.raises(DataError, match="nothing was scored"):
            ask()
    metric.update(SCORES, LABELS, 1.5)
    assert metric.result() == scored(SCORES, LABELS)


def test_wrong_shapes_and_class_counts_are_errors():
    with pytest.raises(DataError, match=r"scores \[4, 6\] and labels \[4, 5\] do not fit; expected \[videos, 6\]"):
        YouTube8M(6).update(SCORES, LABELS[:, :5], 1.0)
    with pytest.raises(ConfigError, match="num_classes is '1'"):
        YouTube8M(1)


def test_top_1_and_top_5_where_every_video_has_one_label():
    scores = np.tile(np.linspace(0.9, 0.1, 8), (4, 1))  # class 0 is the best, class 7 the worst
    labels = np.eye(8)[[0, 1, 4, 5]]
    found = scored(scores, labels)
    assert (found["top1"], found["top5"]) == (25.0, 75.0)
    labels[0, 3] = 1
    assert "top1" not in scored(scores, labels)
