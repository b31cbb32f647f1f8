"""Tables that a run leaves: CSV that spreadsheets cannot be tricked with, JSON, and small tables for the screen."""

import csv
import json
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from storage import addresses
from storage.files import replacing
from utils.errors import ConfigError, DataError, ObjectError
from utils.names import printable, width

FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""A text cell that starts so gets a `'` in front: spreadsheets would run it as a formula. `'` itself is in the list, so that
removing one leading `'` gives every cell back as it was."""


def defused(cell: object) -> object:
    """A cell as it is written: text that a spreadsheet would take for a formula with a `'` in front; numbers as they are."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def restored(cell: str) -> str:
    """A cell as it was before `defused`."""
    return cell.removeprefix("'")


def write_file(path: str | Path, write: Callable, mode: str = "w") -> str | Path:
    """Call `write(file)` on a file that takes the name `path` when it is whole; its folder is made. Returns the path.

    Raises ConfigError where there is no room or no permission, RemoteError."""
    # A file's name may hold what UTF-8 does not have.
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "", "errors": "backslashreplace"}
    try:
        with replacing(path) as beside, open(beside, mode, **text) as file:
            write(file)
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be written ({error.strerror or error}); make room, or name another --save_dir"
        ) from error
    return path


def write_csv(path: str | Path, header: Iterable, rows: Iterable[Iterable]) -> str | Path:
    """Write a table whose text cells are defused; returns the path. `read_csv` gives the cells back unchanged."""
    lines = [[defused(cell) for cell in row] for row in (header, *rows)]
    return write_file(path, lambda file: csv.writer(file).writerows(lines))


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """The rows of a table that `write_csv` wrote. Raises DataError."""
    try:
        with addresses.reading(path) as copy, open(copy, encoding="utf-8", newline="") as file:
            lines = [[restored(cell) for cell in row] for row in csv.reader(file)]
    except ObjectError as error:
        raise DataError(f"table {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"table '{path}' cannot be read: {error}") from error
    header, rows = (lines or [[]])[0], lines[1:]
    return [dict(zip(header, row, strict=False)) for row in rows]


def write_json(path: str | Path, content: object) -> str | Path:
    """Write `content` as indented JSON; returns the path."""
    return write_file(path, lambda file: json.dump(content, file, indent=2, ensure_ascii=False))


def top(probabilities: np.ndarray, k: int) -> tuple[list[float], list[int]]:
    """(probabilities, class indices) of the k best classes of one row, best first; equal scores by class index."""
    order = np.argsort(-probabilities, kind="stable")[:k]
    return probabilities[order].tolist(), order.tolist()


def text(result: dict, topk: int) -> str:
    """A result for the screen: the sample, then its `topk` best classes."""
    if "error" in result:
        return f"not classified: {printable(result['error'])}"
    best = list(zip(result["names"], result["probabilities"], strict=True))[:topk]
    lines = [f"\tclass: {printable(name)},  probability:  {probability:.4f}" for name, probability in best]
    return "\n".join([f"video_id {printable(result['id'])} , topk({len(lines)}) preds:", *lines])


def table(rows: Iterable[Iterable]) -> str:
    """Rows of cells as aligned columns for the screen: the first column to the left, the others to the right."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        padded = [" " * (size - width(cell)) + cell for cell, size in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first + " " * (widths[0] - width(first)), *padded]).rstrip())
    return "\n".join(lines)


def write_inference(prefix: str, results: list[dict]) -> list[str]:
    """`<prefix>` (pickle list of (id, probabilities, class indices), as the old zoo wrote), `<prefix>.csv`, `<prefix>.json`.

    `results`: dictionaries with id, and either probabilities, indices and names (best first) or error. Returns the paths.
    """
    good = [r for r in results if "error" not in r]
    old = [(r["id"], r["probabilities"], r["indices"]) for r in good]
    rows = [
        (r["id"], rank, r["indices"][rank - 1], r["names"][rank - 1], f"{r['probabilities'][rank - 1]:.6f}", "")
        for r in good
        for rank in range(1, len(r["indices"]) + 1)
    ]
    rows += [(r["id"], "", "", "", "", r["error"]) for r in results if "error" in r]
    return [
        write_file(prefix, lambda file: pickle.dump(old, file, protocol=2), mode="wb"),
        write_csv(f"{prefix}.csv", ["id", "rank", "class", "name", "probability", "error"], rows),
        write_json(f"{prefix}.json", results),
    ]
