"""Scores of windows in `<name>_scores.npz`: a result, and what an interrupted run goes on from."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datareader.long.windows import MICRO
from metrics.timeline import Window
from storage import addresses
from storage.files import write_file
from utils.errors import DataError

__all__ = ["require_same", "restart", "write"]

SAME = 1e-4  # difference of scores that another batch size or thread count may make
AGAIN = "leave out --resume_windows to start from the beginning"


def write(path: str | Path, windows: Sequence[Window], names: Sequence[str], length: int, step: int) -> str | Path:
    """Write what is known of a video; `length` and `step` of the windows in microseconds. Returns the path."""
    arrays = {
        "start": np.array([window.start for window in windows]),
        "end": np.array([window.end for window in windows]),
        "scores": np.stack([window.probabilities for window in windows]),
        "names": np.array(names, dtype=str),
        "window": np.array(length / MICRO),
        "stride": np.array(step / MICRO),
    }
    return write_file(path, lambda file: np.savez_compressed(file, **arrays), mode="wb")


def restart(path: str | Path, names: Sequence[str], length: int, step: int) -> list[Window]:
    """The whole windows of a file that `write` wrote, in order; [] where there is no file.

    A window at the end of the video that is not on the grid is left out: the video may have grown. Raises DataError
    where the file cannot be read, or is of other windows or classes.
    """
    if not addresses.exists(path):
        return []
    try:
        with addresses.reading(path) as copy, np.load(copy, allow_pickle=False) as found:
            arrays = {name: found[name] for name in ("start", "end", "scores", "names", "window", "stride")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' cannot be read: {error}; {AGAIN}") from error
    made = float(arrays["window"]), float(arrays["stride"])
    if made != (length / MICRO, step / MICRO):
        raise DataError(
            f"'{path}' has windows of '{made[0]:g}' s every '{made[1]:g}' s, not '{length / MICRO:g}' s every "
            f"'{step / MICRO:g}' s; {AGAIN}"
        )
    if arrays["names"].tolist() != list(names):
        raise DataError(f"'{path}' was made by a model of other classes; {AGAIN}")
    rows = zip(arrays["start"].tolist(), arrays["end"].tolist(), arrays["scores"], strict=True)
    windows = [Window(*row) for row in rows]
    return [window for number, window in enumerate(windows) if _on_grid(window, windows[0], number, length, step)]


def require_same(path: str | Path, kept: Window, again: Window) -> None:
    """Raises DataError where a window that was kept has other scores now: by other weights, or of another video."""
    if (kept.start, kept.end) != (again.start, again.end) or np.abs(
        kept.probabilities - again.probabilities
    ).max() > SAME:
        raise DataError(
            f"'{path}' is of another video, or was made by other weights: its window at {kept.start:g} s has other "
            f"scores now; {AGAIN}"
        )


def _on_grid(window, first, number, length, step):
    start, end = round(window.start * MICRO), round(window.end * MICRO)
    return start == round(first.start * MICRO) + number * step and end == start + length
