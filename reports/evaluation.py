"""Data collected during an evaluation for its page: predictions with names, and pictures of the worst mistakes."""

from pathlib import Path
from typing import Any

import numpy as np

from reports import statistics
from reports.pictures import strip
from storage import addresses
from storage.tables import write_csv

WORST = 24  # mistakes that are shown with frames
LISTED = 5  # best classes kept of each clip


class Classification:
    """What test.py keeps of clips, each of one class: a few numbers a clip, and the frames of the worst mistakes.

    Several processes keep parts of each batch; `merge` makes one of them. Samples are in the order of the list.
    """

    kind = "classification"

    def __init__(self, views: int = 1):
        self.views, self.mistakes = views, []
        self.columns = {"indices": [], "ids": [], "labels": [], "best": [], "scores": [], "truth": []}

    def add(self, batch: Any, probabilities: np.ndarray) -> None:
        """Keep a batch (`indices`, `ids`, `labels`, `feed`: frames uint8 [B*views, T, H, W, 3]) and scores [B, C]."""
        labels = np.asarray(batch.labels, int)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :LISTED]  # equal scores by class index
        scores = np.take_along_axis(probabilities, best, axis=1)
        truth = probabilities[np.arange(len(labels)), labels]
        added = (batch.indices, batch.ids, labels, best, scores, truth)
        for column, values in zip(self.columns.values(), added, strict=True):
            column.append(np.asarray(values))
        margins = (scores[:, 0] - truth).tolist()
        for place in np.flatnonzero(best[:, 0] != labels).tolist():
            if self._is_worse(margins[place]):
                frames = batch.feed["frames"][place * self.views + self.views // 2]
                self.mistakes.append((margins[place], int(batch.indices[place]), strip(frames)))
                self._keep_worst()

    def _is_worse(self, margin):
        return len(self.mistakes) < WORST or margin > self.mistakes[-1][0]

    def _keep_worst(self):
        self.mistakes = sorted(self.mistakes, key=lambda mistake: (-mistake[0], mistake[1]))[:WORST]

    def state(self) -> dict[str, np.ndarray]:
        """What is kept, as {name: array}."""
        pictures = [np.frombuffer(picture, np.uint8) for _, _, picture in self.mistakes]
        return {
            **self.arrays(),
            "margins": np.array([margin for margin, _, _ in self.mistakes], np.float64),
            "shown": np.array([index for _, index, _ in self.mistakes], int),
            "sizes": np.array([len(picture) for picture in pictures], int),
            "pictures": np.concatenate([np.empty(0, np.uint8), *pictures]),
        }

    def merge(self, states: list[dict[str, np.ndarray]]) -> None:
        """Take over what several processes collected (or an earlier run did), in the order of the list."""
        states = [state for state in states if len(state["indices"])]
        self.columns, self.mistakes = {name: [] for name in self.columns}, []
        if not states:
            return
        order = np.argsort(np.concatenate([state["indices"] for state in states]), kind="stable")
        for name, column in self.columns.items():
            column.append(np.concatenate([state[name] for state in states])[order])
        for state in states:
            ends = np.cumsum(state["sizes"]).tolist()
            for place, margin in enumerate(state["margins"].tolist()):
                picture = state["pictures"][ends[place] - int(state["sizes"][place]) : ends[place]].tobytes()
                self.mistakes.append((margin, int(state["shown"][place]), picture))
        self._keep_worst()

    def arrays(self) -> dict[str, np.ndarray]:
        """indices, ids, labels, truth (probability of the label) [N]; best (classes), scores (probabilities) [N, k]."""
        empty = {"ids": np.empty(0, str), "best": np.empty((0, 1), int), "scores": np.empty((0, 1))}
        return {
            name: np.concatenate(column) if column else empty.get(name, np.empty(0, int))
            for name, column in self.columns.items()
        }

    def write(self, folder: str | Path, model: str, names: list[str], metric: Any) -> list:
        """Per-class scores, confusion matrix and each clip's prediction as CSV; returns the paths."""
        kept = self.arrays()
        predicted = kept["best"][:, 0].tolist()
        matrix = statistics.confusion(kept["labels"], predicted, len(names))
        rows = [
            (name, label, names[label], guess, names[guess], f"{score:.6f}")
            for name, label, guess, score in zip(
                kept["ids"].tolist(), kept["labels"].tolist(), predicted, kept["scores"][:, 0].tolist(), strict=True
            )
        ]
        tables = {
            "per_class": (
                ["class", "name", "clips", "correct", "recall", "precision"],
                statistics.per_class(matrix, names),
            ),
            "confusion": (
                ["true \\ predicted", *names],
                [(name, *row) for name, row in zip(names, matrix.tolist(), strict=True)],
            ),
            "predictions": (["id", "class", "name", "predicted", "predicted_name", "probability"], rows),
        }
        return [write_csv(addresses.join(folder, f"{model}_{name}.csv"), *table) for name, table in tables.items()]


class MultiLabel:
    """What test.py keeps of videos of several classes each: nothing, for the metric keeps what is needed.

    Thousands of scores of a million videos would be too many.
    """

    kind = "multilabel"

    def __init__(self, views: int = 1):
        """`views` is 1 for features."""

    def add(self, batch: Any, probabilities: np.ndarray) -> None:
        """A batch; nothing is kept."""

    def state(self) -> dict[str, np.ndarray]:
        """What is kept: nothing."""
        return {}

    def merge(self, states: list[dict[str, np.ndarray]]) -> None:
        """Nothing to merge."""

    def write(self, folder: str | Path, model: str, names: list[str], metric: Any) -> list:
        """Videos and average precision of each class as CSV, "" where no video has the class; returns the paths."""
        rows = class_precisions(names, metric)
        path = addresses.join(folder, f"{model}_per_class.csv")
        return [write_csv(path, ["class", "name", "videos", "average_precision"], rows)]


def class_precisions(names: list[str], metric: Any) -> list[tuple]:
    """Rows (class, name, videos, average precision) of a YouTube8M metric; "" where no video has the class."""
    columns = zip(names, metric.positives.tolist(), metric.average_precisions(), strict=True)
    return [(i, name, count, f"{precision:.6f}" if count else "") for i, (name, count, precision) in enumerate(columns)]
