"""Files of a training while it runs: a row per epoch, the values of each log line, a picture after every validation.

    <MODEL>_results.csv   a row an epoch, written anew from the checkpoint's history: it has each epoch once, in order
    <MODEL>_log.jsonl     every log line as values, appended; a resumed run drops what lies after its checkpoint
    <MODEL>_results.png   curves
Nothing that goes wrong here ends a training.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from reports import curves
from reports.dashboards import Dashboard
from reports.pages import page
from storage import addresses
from storage.files import write_file
from storage.tables import write_csv

FIRST = ("epoch", "step", "learning_rate", "loss")
LAST = ("samples_per_second", "data_share", "seconds_per_step", "seconds")
SHORT = {"learning_rate": "lr"}  # in results.csv


def columns(history: list[dict]) -> list[str]:
    """Keys of the rows in the order of results.csv: place and rate, loss and scores, of validation, speed."""
    keys = list(dict.fromkeys(key for row in history for key in row))
    scores = [key for key in keys if key not in FIRST + LAST]
    scores.sort(key=lambda key: key.startswith("valid_"))
    return [key for key in FIRST if key in keys] + scores + [key for key in LAST if key in keys]


class Journal:
    """Writes the files of a training in `folder`, which may be an address. `log_dir`: also for dashboards;
    `pictures`: also the curves.

    Only process 0 has one. Raises ConfigError where the package for `log_dir` is not installed.
    """

    def __init__(self, folder: str | Path, model: str, log_dir: str | Path | None = None, pictures: bool = True):
        self.folder, self.model = folder, model
        self.dashboard = Dashboard(log_dir) if log_dir else None
        self.lines, self.broken, self.pictures = [], False, pictures

    def path(self, name: str) -> str | Path:
        """The path of one of the files, by what follows the model's name."""
        return addresses.join(self.folder, f"{self.model}_{name}")

    def start(self, step: int, history: list[dict]) -> None:
        """Keep the lines of an earlier run up to `step` (steps done); drop later and incomplete lines.

        `history`: the epochs of that run, which are in the checkpoint."""
        if self.dashboard:
            self.dashboard.start(step)
        self.lines = list(self._earlier(step)) if step else []
        self._safely("log file of values", self._rewrite)
        if history:
            self._safely("results.csv", lambda: self._write_rows(history))

    def _write_rows(self, history):
        keys = columns(history)
        rows = [[row.get(key, "") for key in keys] for row in history]
        return [write_csv(self.path("results.csv"), [SHORT.get(key, key) for key in keys], rows)]

    def _earlier(self, step):
        path = self.path("log.jsonl")
        if not addresses.exists(path):
            return
        with addresses.reading(path) as copy, open(copy, encoding="utf-8", errors="replace") as file:
            for line in file:
                values = _parsed(line)
                if values is not None and values["step"] < step:
                    yield line.rstrip("\n")

    def _rewrite(self):
        text = "".join(f"{line}\n" for line in self.lines)
        return [write_file(self.path("log.jsonl"), lambda file: file.write(text))]

    def line(self, values: dict) -> None:
        """A log line of a step: {"epoch", "batch", "step", "loss", ...}."""
        if self.dashboard:
            self.dashboard.add("train", values, values["step"])
        self._safely("log file of values", lambda: self._append(json.dumps(values)))

    def _append(self, line):
        if addresses.is_remote(self.folder):  # objects cannot be appended to: it is uploaded once an epoch
            self.lines.append(line)
            return []
        with open(self.path("log.jsonl"), "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        return []

    def epoch(self, history: list[dict], best: dict | None) -> None:
        """An epoch is over: its row, its curves. `history`: all epochs so far; `best`: {"epoch", "value"}."""
        row = history[-1]
        self._safely("results.csv", lambda: self._write_rows(history))
        if addresses.is_remote(self.folder):
            self._safely("log file of values", self._rewrite)
        if self.pictures and any(key.startswith("valid_") for key in row):
            self._safely("curves", lambda: [page.write_png(self.path("results.png"), curves.overview(history, best))])
        if self.dashboard:
            valid = {key.removeprefix("valid_"): row[key] for key in row if key.startswith("valid_")}
            self.dashboard.add("valid", valid, row.get("step", row["epoch"]))

    def validated(self, images: Callable[[], dict], step: int) -> None:
        """A validation is over: `images()` are its pictures, made only for a dashboard."""
        if self.dashboard and self.pictures:
            page.attempt("pictures for the dashboard", partial(self._show, images, step))

    def _show(self, images, step):
        self.dashboard.add_images("valid", images(), step)
        return []

    def _safely(self, what, write):
        """Write unless that failed before: a full disk is said once, not at every line."""
        if not self.broken:
            self.broken = page.attempt(what, write) is None

    def close(self) -> None:
        """The training is over."""
        if self.dashboard:
            self.dashboard.close()


def _parsed(line):
    """The values of a line, or None if it is incomplete or not a line of this journal."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = line.endswith("\n") and isinstance(values, dict) and isinstance(values.get("step"), int)
    return values if whole else None
