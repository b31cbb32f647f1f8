"""From scores of windows to segments, by hand-made cases."""

import numpy as np
import pytest

from metrics.timeline import Window, segments, smoothed

NAMES = ["run", "walk", "sit"]


def windows(*rows, length=2.0, stride=1.0):
    return [Window(k * stride, k * stride + length, np.array(row, np.float32)) for k, row in enumerate(rows)]


RUN, WALK, UNCLEAR = (0.9, 0.1, 0.0), (0.2, 0.8, 0.0), (0.4, 0.3, 0.3)


def found(*arguments, **settings):
    return [(s.name, s.start, s.end, round(s.score, 3)) for s in segments(*arguments, NAMES, **settings)]


def test_time_belongs_to_the_mean_of_the_windows_that_cover_it():
    """[1, 2): (0.9 + 0.2) / 2 for run against (0.1 + 0.8) / 2."""
    assert found(windows(RUN, WALK)) == [("run", 0, 2, 0.725), ("walk", 2, 3, 0.8)]


def test_neighbours_of_one_class_are_one_segment():
    assert found(windows(RUN, RUN, RUN, length=1)) == [("run", 0, 3, 0.9)]


def test_time_below_the_threshold_has_no_class():
    given = windows(RUN, UNCLEAR, RUN, length=1)
    assert found(given, threshold=0.5) == [("run", 0, 1, 0.9), ("run", 2, 3, 0.9)]
    assert found(given, threshold=0.5, unsure="?") == [("run", 0, 1, 0.9), ("?", 1, 2, 0.4), ("run", 2, 3, 0.9)]


def test_short_segments_are_left_out():
    given = windows(RUN, RUN, WALK, length=1)
    assert found(given, min_seconds=1.5) == [("run", 0, 2, 0.9)]
    assert found(given, min_seconds=1.5, unsure="?")[1] == ("?", 2, 3, 0.8)


def test_a_median_removes_one_odd_window():
    given = windows(RUN, RUN, WALK, RUN, RUN, length=1)
    assert len(found(given)) == 3 and len(found(given, smooth=3)) == 1
    assert smoothed(np.arange(4.0).reshape(4, 1), 3).ravel() == pytest.approx([0.5, 1, 2, 2.5])


def test_nothing_is_invented_between_windows():
    apart = [Window(0, 1, np.array(RUN)), Window(3, 4, np.array(RUN))]
    assert found(apart) == [("run", 0, 1, 0.9), ("run", 3, 4, 0.9)]
    assert segments([], NAMES) == []
