"""Plots as PNG, drawn with matplotlib, which is imported when the first one is drawn: it takes half a second.

Names are data: `$` and `_` are shown as they are, and names that no font here can show become `class 7`.
"""

import contextlib
import functools
import logging
import threading
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from reports.statistics import Calibration
from utils.names import printable, width

log = logging.getLogger("zoo")

CHINESE = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Heiti SC",
    "Hiragino Sans GB",
    "Droid Sans Fallback",
    "Noto Serif CJK SC",
    "Noto Serif CJK JP",
    "Arial Unicode MS",
)
LONGEST = 26  # characters of a name in a plot
LETTER = 0.62  # width of a letter, by the size of its font
ANNOTATED = 20  # classes up to which the cells of a confusion matrix hold numbers
NAMED = 60  # classes up to which its axes hold names
BLUE, ORANGE, GREY = "#2f6fb3", "#d9730d", "#8a8f98"
COLOURS = (BLUE, ORANGE, "#2f8f5b", "#b3408f", "#7a5cc4", "#8a6d1f", "#1f8a8a", "#c0392b")


DRAWING = threading.RLock()  # matplotlib's settings are those of the whole process


@contextlib.contextmanager
def drawing(width: float, height: float, rows: int = 1, columns: int = 1, **more: Any) -> Iterator[tuple[Any, Any]]:
    """(figure, axes) of a size in inches; one thread draws at a time. `more`: arguments of Figure.subplots."""
    import matplotlib
    from matplotlib.figure import Figure

    settings = {
        "text.parse_math": False,
        "font.family": ["DejaVu Sans", *chinese_fonts()],
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.axisbelow": True,
        "grid.color": "#e3e5e8",
        "figure.facecolor": "white",
    }
    with DRAWING, matplotlib.rc_context(settings):
        figure = Figure((width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, **more)


def png(figure: Any, dpi: int = 150) -> bytes:
    """The PNG of a figure, without a date or a version in it: equal values give equal bytes.

    `Figure.savefig` would draw it twice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgb = np.asarray(canvas.buffer_rgba())[:, :, :3]
    return cv2.imencode(".png", rgb[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 6])[1].tobytes()


@functools.cache
def chinese_fonts() -> list[str]:
    """Names of the fonts here that have Chinese characters."""
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return [name for name in CHINESE if name in known]


@functools.cache
def _glyphs():
    """Code points that the fonts of a plot can show."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    found = set()
    for name in ("DejaVu Sans", *chinese_fonts()):
        found.update(get_font(findfont(FontProperties(family=name))).get_charmap())
    return found


def labels(names: list[str], longest: int = LONGEST) -> list[str]:
    """Names as a plot can show them: control characters escaped, names of more than `longest` characters cut, and
    `class 7` if no font has the letters.

    A notice says how many those are and what to install."""
    shown = [_cut(printable(name), longest) for name in names]
    odd = [i for i, name in enumerate(shown) if not name.isascii() and not _glyphs().issuperset(map(ord, name))]
    for i in odd:
        shown[i] = f"class {i}"
    if odd:
        log.warning(
            "plots show %d names as `class N`, the first is '%s': no font here has their characters; install one "
            "(Debian: fonts-noto-cjk)",
            len(odd),
            printable(names[odd[0]]),
        )
    return shown


def _cut(name, longest):
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def prepare() -> None:
    """Import matplotlib and find its fonts, which makes the first plot as fast as the others."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401

    _glyphs()


def confusion_matrix(matrix: np.ndarray, names: list[str], normalized: bool = False) -> bytes:
    """Counts [true class, predicted class]; `normalized`: in percent of the clips of the true class."""
    count = len(matrix)
    values = 100 * matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True)) if normalized else matrix
    from matplotlib.colors import PowerNorm  # with many classes small shares stay visible

    side = float(np.clip(2.2 + 0.42 * count, 4.6, 10))
    with drawing(side + 1, side) as (figure, axes):
        norm = PowerNorm(1 if count <= NAMED else 0.5, 0, 100 if normalized else max(1, values.max()))
        image = axes.imshow(values, cmap="Blues", norm=norm, interpolation="nearest")
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        shown, size = labels(names) if count <= NAMED else [], 10 if count <= 25 else 6
        bar_axes = _place(figure, axes, max(map(width, shown), default=4) * size)
        if shown:
            axes.set_xticks(range(count), shown, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
            axes.set_yticks(range(count), shown, fontsize=size)
        if count <= ANNOTATED:
            _annotate(axes, values, normalized)
            axes.set_xticks(np.arange(count - 1) + 0.5, minor=True)
            axes.set_yticks(np.arange(count - 1) + 0.5, minor=True)
            axes.grid(which="minor")
            axes.tick_params(which="minor", length=0)
        bar = figure.colorbar(image, cax=bar_axes, label="% of the true class" if normalized else "clips")
        bar.outline.set_visible(False)
        return png(figure, 130)


def _place(figure, axes, points):
    """Put a square of cells beside room for names `points` wide, times the mean width of a letter; returns the axes of
    the colour bar. Matplotlib's layout engine would take as long as the drawing itself."""
    figure.set_layout_engine(None)
    across, down = figure.get_size_inches()
    names = points * LETTER / 72  # inches
    left, bottom = names + 0.5, names * 0.75 + 0.55
    side = min(across - left - 1, down - bottom - 0.15)
    axes.set_position((left / across, 1 - (side + 0.1) / down, side / across, side / down))
    return figure.add_axes(
        ((left + side + 0.15) / across, 1 - (0.1 + 0.875 * side) / down, 0.12 / across, 0.75 * side / down)
    )


def _annotate(axes, values, normalized):
    """Numbers in the cells that hold any."""
    largest = 100 if normalized else max(1, values.max())
    for (row, column), value in np.ndenumerate(values):
        if value:
            colour = "white" if value > 0.55 * largest else "#1c2733"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=9)


def calibration(found: Calibration) -> bytes:
    """Reliability diagram: accuracy against confidence; the bars below say how many clips had that confidence."""
    bins = len(found.counts)
    edges, filled = np.arange(bins) / bins, found.counts > 0
    with drawing(5.2, 4.6, 2, sharex=True, height_ratios=(3, 1)) as (figure, (upper, lower)):
        upper.bar(edges, found.accuracy, 1 / bins, align="edge", color=BLUE, edgecolor="white", label="accuracy")
        upper.plot([0, 1], [0, 1], "--", color=GREY, label="perfect")
        upper.plot(found.confidence[filled], found.accuracy[filled], "o", color=ORANGE, label="mean confidence")
        figure.set_layout_engine(None)  # finding margins would take as long as drawing
        figure.subplots_adjust(0.12, 0.11, 0.97, 0.84, hspace=0.12)
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
        figure.suptitle(f"calibration error (ECE) {100 * found.error:.1f} %", x=0.02, ha="left", fontweight="bold")
        _legend_above(upper)
        lower.bar(edges, found.counts, 1 / bins, align="edge", color=GREY, edgecolor="white")
        lower.set(xlabel="confidence: probability of the predicted class", ylabel="clips")
        return png(figure)


def _legend_above(axes):
    """A legend that covers no data."""
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def mistakes(rows: list[tuple[str, np.ndarray]], columns: int = 2) -> bytes:
    """Pictures, RGB uint8 [H, W, 3], each under a line of text, in `columns` columns."""
    lines = -(-len(rows) // columns)
    with drawing(4.6 * columns, 2.3 * lines, lines, columns, squeeze=False) as (figure, places):
        for axes in places.flat:
            axes.axis("off")
        for axes, (title, picture) in zip(places.flat, rows, strict=False):
            axes.imshow(picture)
            axes.set_title(title, fontsize=9, fontweight="normal")
        return png(figure, 100)


def precision_recall(recall: np.ndarray, precision: np.ndarray) -> bytes:
    """Precision against recall over all pooled predictions."""
    with drawing(5.2, 3.6) as (figure, axes):
        axes.plot(recall, precision, color=BLUE)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall: share of the true labels found", ylabel="precision")
        axes.set_title("precision at recall")
        axes.grid(True)
        return png(figure)


def score_histogram(scores: np.ndarray, hits: np.ndarray) -> bytes:
    """How the scores of right and of wrong labels lie; counts on a logarithmic scale."""
    with drawing(5.2, 3.6) as (figure, axes):
        sides = np.linspace(0, 1, 41)
        axes.hist([scores[hits], scores[~hits]], sides, stacked=True, color=[BLUE, ORANGE], label=["right", "wrong"])
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # the default one writes 10^2 as mathematics
        axes.set(xlim=(0, 1), xlabel="score of a predicted label", ylabel="labels")
        _legend_above(axes)
        return png(figure)


def lengths(frames: np.ndarray) -> bytes:
    """Histogram of the lengths of clips, in frames."""
    with drawing(5.2, 3.0) as (figure, axes):
        axes.hist(frames, min(30, max(5, len(frames) // 4)), color=BLUE, edgecolor="white")
        axes.set(xlabel="frames of a clip", ylabel="clips")
        axes.xaxis.get_major_locator().set_params(integer=True)
        return png(figure)
