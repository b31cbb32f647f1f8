"""A timeline as one picture: the scores of the main classes over time, and the segments above them."""

from collections.abc import Sequence

import numpy as np

from metrics.timeline import Timeline, cells
from reports.plots import COLOURS, GREY, drawing, labels, png
from reports.timelines.files import clock

__all__ = ["main_classes", "picture"]

ROWS = 12  # classes that are drawn
WIDTH, ROW = 11.0, 0.34  # inches
COLUMNS = 2000  # cells that are drawn one by one; more are averaged


def main_classes(timeline: Timeline, most: int = ROWS) -> list[int]:
    """The `most` classes whose segments last longest, then those of the highest scores; by first appearance."""
    seconds = np.zeros(len(timeline.names))
    first = np.full(len(timeline.names), np.inf)
    for segment in reversed(timeline.segments):
        if segment.index is not None:
            seconds[segment.index] += segment.end - segment.start
            first[segment.index] = segment.start
    chosen = np.lexsort((-timeline.scores.max(axis=0), -seconds))[:most]
    return chosen[np.argsort(first[chosen], kind="stable")].tolist()


def picture(timeline: Timeline) -> bytes:
    """PNG of a timeline with at least one window."""
    chosen = main_classes(timeline)
    stretches = cells(timeline.windows, timeline.scores)
    edges, values = _columns(stretches, chosen)
    with drawing(WIDTH, 1.6 + ROW * len(chosen)) as (figure, axes):
        mesh = axes.pcolormesh(edges, np.arange(len(chosen) + 1), values, cmap="Blues", vmin=0, vmax=1, rasterized=True)
        figure.colorbar(mesh, ax=axes, label="score", fraction=0.03, pad=0.01)
        for segment in timeline.segments:
            if segment.index in chosen:
                row = chosen.index(segment.index)
                colour = COLOURS[row % len(COLOURS)]
                axes.broken_barh([(segment.start, segment.end - segment.start)], (row + 0.72, 0.22), color=colour)
        axes.set_yticks(np.arange(len(chosen)) + 0.5, labels([timeline.names[index] for index in chosen]))
        axes.invert_yaxis()
        axes.set_xlim(edges[0], edges[-1])
        axes.xaxis.set_major_formatter(_time)
        axes.set_xlabel("time; bars are segments")
        axes.hlines(np.arange(1, len(chosen)), edges[0], edges[-1], color=GREY, linewidth=0.4)
        return png(figure)


def _time(seconds: float, _: object) -> str:
    """`1:02:03` or `2:03`, with tenths of a second where there are any."""
    hours, minutes, rest = clock(max(0.0, seconds))[:-2].removesuffix(".0").split(":")
    return f"{int(hours)}:{minutes}:{rest}" if int(hours) else f"{int(minutes)}:{rest}"


def _columns(stretches: Sequence[tuple[float, float, np.ndarray]], chosen: list[int]):
    """(edges [n + 1], scores [classes, n]) of at most COLUMNS cells; uncovered time is blank."""
    edges, values = [stretches[0][0]], []
    for start, end, q in stretches:
        if start > edges[-1]:
            edges.append(start)
            values.append(np.full(len(chosen), np.nan))
        edges.append(end)
        values.append(q[chosen])
    step = -(-len(values) // COLUMNS)
    firsts = range(0, len(values), step)
    averaged = [np.mean(values[first : first + step], axis=0) for first in firsts]
    return np.array([*(edges[first] for first in firsts), edges[-1]]), np.array(averaged).T
