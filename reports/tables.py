"""Tables of a run: CSV that is safe to open in spreadsheets, JSON, and small tables for the screen."""

import json
import pickle
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from storage.files import write_file
from storage.tables import write_csv
from utils.names import printable, width


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
    """Write `<prefix>` (pickle list of (id, probabilities, class indices), as the old zoo did), and its .csv and .json.

    `results`: dictionaries with id, and either probabilities, indices and names (best first) or error.
    Returns the paths.
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
