"""Curves of one or several trainings: loss, scores, learning rate and where the time went, over the epochs.

A history is a list of rows, one an epoch: {"epoch": 0, "loss": 1.7, "top1": 33.0, "valid_loss": ..., ...}.
"""

from collections.abc import Callable
from typing import Any

from reports.plots import BLUE, COLOURS, GREY, ORANGE, drawing, labels, png

SCORES = {"top1": "top-1 accuracy (%)", "gap": "GAP"}
"""The score by which the best epoch is chosen, by its key in a history, and what it is called."""

WIDE = 50  # ratio of the largest to the smallest loss or rate from which the scale is logarithmic


def score_key(history: list[dict]) -> str:
    """The key of the main score of a history: top1 of clips, gap of features; "" of neither."""
    return next((key for key in SCORES if any(key in row or f"valid_{key}" in row for row in history)), "")


def points(history: list[dict], key: str) -> tuple[list[int], list[float]]:
    """(epochs, values) of the rows that have the key."""
    rows = [row for row in history if isinstance(row.get(key), int | float)]
    return [row["epoch"] for row in rows], [row[key] for row in rows]


def _lines(axes, history, keys):
    """A line for each (key, label, colour) that the history has; a lone epoch is a dot."""
    for key, label, colour in keys:
        epochs, values = points(history, key)
        if epochs:
            axes.plot(epochs, values, color=colour, label=label, marker="o", markersize=3 if len(epochs) > 1 else 6)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(True)
    if len(axes.lines) > 1:
        axes.legend(frameon=False)


def _mark(axes, best):
    """A vertical line at the best epoch."""
    if best:
        axes.axvline(best["epoch"], color=GREY, linestyle=":", linewidth=1.5)


def draw_loss(axes: Any, history: list[dict], best: dict | None) -> None:
    """Loss in training and in validation."""
    axes.set_title("loss")
    _lines(axes, history, [("loss", "training", BLUE), ("valid_loss", "validation", ORANGE)])
    _logarithmic(axes, [value for key in ("loss", "valid_loss") for value in points(history, key)[1]])
    _mark(axes, best)


def _logarithmic(axes, values):
    """Make the scale logarithmic if the values need it; whether it is."""
    if not values or min(values) <= 0 or max(values) <= WIDE * min(values):
        return False
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")  # the default one writes 10^2 as mathematics
    axes.yaxis.set_minor_formatter("")
    return True


def draw_score(axes: Any, history: list[dict], best: dict | None) -> None:
    """The main score in training and in validation; a star at the best epoch."""
    key = score_key(history)
    axes.set_title(SCORES.get(key, "score"))
    _lines(axes, history, [(key, "training", BLUE), (f"valid_{key}", "validation", ORANGE)])
    _mark(axes, best)
    if best:
        axes.plot(best["epoch"], best["value"], "*", color=ORANGE, markersize=13, label=f"best: epoch {best['epoch']}")
        axes.legend(frameon=False)


def draw_rate(axes: Any, history: list[dict], best: dict | None) -> None:
    """Learning rate of the last step of each epoch."""
    axes.set_title("learning rate")
    _lines(axes, history, [("learning_rate", "learning rate", BLUE)])
    if not _logarithmic(axes, points(history, "learning_rate")[1]):
        axes.set_ylim(bottom=0)


def draw_time(axes: Any, history: list[dict], best: dict | None) -> None:
    """Samples a second, and the share of each step spent waiting for data."""
    axes.set_title("speed")
    _lines(axes, history, [("samples_per_second", "samples/s", BLUE)])
    epochs, shares = points(history, "data_share")
    if epochs:
        other = axes.twinx()
        other.plot(epochs, [100 * share for share in shares], color=ORANGE, label="waiting for data (%)")
        other.set_ylim(0, 100)
        other.tick_params(axis="y", colors=ORANGE)
        axes.set_ylim(0, 1.15 * max(axes.get_ylim()[1], 1e-9))
        axes.legend(axes.lines + other.lines, ["samples/s", "waiting for data (%)"], frameon=False)


PANELS: dict[str, Callable] = {"loss": draw_loss, "score": draw_score, "rate": draw_rate, "time": draw_time}


def panels(history: list[dict], best: dict | None = None) -> dict[str, bytes]:
    """{name: PNG} of each panel; `best`: {"epoch", "value"} of the best epoch so far."""
    found = {}
    for name, draw in PANELS.items():
        with drawing(5.2, 3.4) as (figure, axes):
            draw(axes, history, best)
            found[name] = png(figure)
    return found


def overview(history: list[dict], best: dict | None = None) -> bytes:
    """PNG of all panels in one picture."""
    with drawing(10.4, 6.8, 2, 2) as (figure, axes):
        for draw, place in zip(PANELS.values(), axes.flat, strict=True):
            draw(place, history, best)
        return png(figure, 110)


def several(runs: dict[str, list[dict]], key: str, title: str) -> bytes:
    """PNG of one value of several runs: {name of the run: history}."""
    with drawing(5.2, 3.4) as (figure, axes):
        shown = labels(list(runs))
        lines = []
        for number, history in enumerate(runs.values()):
            epochs, values = points(history, key)
            colour = COLOURS[number % len(COLOURS)]
            lines += axes.plot(epochs, values, color=colour, marker="o", markersize=3)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(True)
        # matplotlib leaves out of a legend whatever starts with `_`.
        axes.legend(lines, [f" {name}" for name in shown], frameon=False)
        return png(figure)
