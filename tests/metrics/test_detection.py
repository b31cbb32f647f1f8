"""mAP of segments by ActivityNet's rule, by cases that were worked out by hand."""

import pytest

from metrics.detection import Span, average_precisions, overlap, right_seconds, scores


def ap(truth, found, threshold=0.5, label="run"):
    return average_precisions({"a": truth}, {"a": found}, threshold)[label]


RUN = [Span(0, 10, "run"), Span(20, 30, "run")]


def test_overlap_is_intersection_over_union():
    assert overlap(Span(0, 10, "x"), Span(5, 15, "x")) == pytest.approx(5 / 15)
    assert overlap(Span(0, 1, "x"), Span(1, 2, "x")) == overlap(Span(1, 1, "x"), Span(1, 1, "x")) == 0


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([Span(0, 10, "run", 0.9), Span(20, 30, "run", 0.8)], 1.0),
        ([Span(0, 10, "run", 0.9)], 0.5),  # half of the recall, at precision 1
        ([Span(0, 5, "run", 0.9)], 0.5),  # an overlap of exactly the threshold counts
        ([Span(0, 4.9, "run", 0.9)], 0.0),
        ([], 0.0),
        ([Span(0, 10, "walk", 0.9)], 0.0),
        # A false one of a lower score costs nothing; one in between costs the second half a third of its precision.
        ([Span(0, 10, "run", 0.9), Span(20, 30, "run", 0.8), Span(40, 50, "run", 0.1)], 1.0),
        ([Span(0, 10, "run", 0.9), Span(40, 50, "run", 0.8), Span(20, 30, "run", 0.7)], 0.5 + 0.5 * 2 / 3),
        # A wrong one first: precision 1/2, then 2/3, made falling to 2/3 throughout.
        ([Span(40, 50, "run", 0.9), Span(0, 10, "run", 0.8), Span(20, 30, "run", 0.7)], 2 / 3),
        # The second one for the same true segment is false, although its overlap is larger.
        ([Span(0, 9, "run", 0.9), Span(0, 10, "run", 0.8)], 0.5),
    ],
)
def test_average_precision(found, expected):
    assert ap(RUN, found) == pytest.approx(expected)


def test_a_taken_segment_leaves_the_next_best():
    """The second segment overlaps the taken one by 0.9 and the free one by 0.55: it takes the free one."""
    truth = [Span(0, 10, "run"), Span(0, 6, "run")]
    assert ap(truth, [Span(0, 10, "run", 0.9), Span(0, 10, "run", 0.8)]) == 1.0


def test_means_go_over_the_classes_of_the_truth_and_over_all_videos():
    truth = {"a": [Span(0, 10, "run")], "b": [Span(0, 10, "walk")], "c": []}
    found = {"a": [Span(0, 10, "run", 0.5), Span(0, 1, "sit", 0.9)], "b": [Span(0, 10, "run", 0.4)]}
    result = scores(truth, found)
    assert result["map_50"] == result["map"] == 50.0 and result["seconds"] == 50.0


def test_seconds_are_counted_once():
    truth = {"a": [Span(0, 10, "run")]}
    assert right_seconds(truth, {"a": [Span(2, 6, "run"), Span(4, 8, "run"), Span(9, 20, "run")]}) == pytest.approx(0.7)
