"""What test.py and infer.py write for people: per-class scores, confusion matrix, predictions, with names."""

import csv
import json
import pickle

import numpy as np

from storage import addresses
from storage.files import replacing
from utils.errors import ConfigError


def _write(path, write, mode="w"):
    """Call `write(file)` on a file that takes the name `path` when it is whole; its folder is made. Returns the path."""
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


def write_csv(path, header, rows):
    return _write(path, lambda file: csv.writer(file).writerows([header, *rows]))


def write_json(path, content):
    return _write(path, lambda file: json.dump(content, file, indent=2, ensure_ascii=False))


def top(probabilities, k):
    """(probabilities, class indices) of the k best classes of one row, best first; equal scores by class index."""
    order = np.argsort(-probabilities, kind="stable")[:k]
    return probabilities[order].tolist(), order.tolist()


def text(result, topk):
    """A result for the screen: the sample, then its `topk` best classes."""
    if "error" in result:
        return f"not classified: {result['error']}"
    best = list(zip(result["names"], result["probabilities"], strict=True))[:topk]
    lines = [f"\tclass: {name},  probability:  {probability:.4f}" for name, probability in best]
    return "\n".join([f"video_id {result['id']} , topk({len(lines)}) preds:", *lines])


def write_inference(prefix, results):
    """`<prefix>` (pickle list of (id, probabilities, class indices), as the old zoo wrote), `<prefix>.csv`, `<prefix>.json`.

    `results`: dictionaries with id, and either probabilities, indices and names (best first) or error.
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
        _write(prefix, lambda file: pickle.dump(old, file, protocol=2), mode="wb"),
        write_csv(f"{prefix}.csv", ["id", "rank", "class", "name", "probability", "error"], rows),
        write_json(f"{prefix}.json", results),
    ]


def confusion(labels, predicted, num_classes):
    """Matrix [true class, predicted class] of counts."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (np.asarray(labels, int), np.asarray(predicted, int)), 1)
    return matrix


def per_class(matrix, names):
    """Rows (class, name, clips, correct, recall %, precision %) of a confusion matrix; blank where undefined."""

    def percent(part, whole):
        return f"{100.0 * part / whole:.2f}" if whole else ""

    return [
        (
            i,
            names[i],
            int(matrix[i].sum()),
            int(matrix[i, i]),
            percent(matrix[i, i], matrix[i].sum()),
            percent(matrix[i, i], matrix[:, i].sum()),
        )
        for i in range(len(matrix))
    ]


class Classification:
    """What test.py writes about clips, each of one class. Keeps every clip's scores."""

    def __init__(self):
        self.batches = []

    def add(self, number, ids, labels, probabilities):
        """A batch and its number: ids, labels and probabilities [B, C] of its clips."""
        self.batches.append((number, ids, labels, probabilities))

    def state(self):
        """What is kept, as {name: array}."""
        ids, labels, rows = self._columns()
        return {
            "ids": np.array(ids, str),
            "labels": np.array(labels, int),
            "rows": rows,
            "numbers": np.repeat(
                [batch[0] for batch in self.batches], [len(batch[1]) for batch in self.batches]
            ).astype(int),
        }

    def merge(self, states):
        """Become all that several reports keep, in the order of the list."""
        self.batches = [
            (number, [str(name)], [label], row[None])
            for state in states
            for number, name, label, row in zip(
                *(state[key].tolist() for key in ("numbers", "ids", "labels")), state["rows"], strict=True
            )
        ]
        self.batches.sort(key=lambda batch: batch[0])

    def _columns(self):
        """(ids, labels, probabilities [N, C])."""
        ids, labels = ([item for batch in self.batches for item in batch[i]] for i in (1, 2))
        return (
            ids,
            labels,
            np.concatenate([batch[3] for batch in self.batches]) if self.batches else np.empty((0, 0), np.float32),
        )

    def write(self, folder, model, names, metric):
        """Per-class scores, confusion matrix and each clip's prediction as CSV; returns the paths."""
        ids, labels, probabilities = self._columns()
        predicted = probabilities.argmax(axis=1)
        matrix = confusion(labels, predicted, len(names))
        rows = [
            (i, label, names[label], guess, names[guess], f"{score:.6f}")
            for i, label, guess, score in zip(ids, labels, predicted.tolist(), probabilities.max(axis=1), strict=True)
        ]
        return [
            write_csv(
                addresses.join(folder, f"{model}_per_class.csv"),
                ["class", "name", "clips", "correct", "recall", "precision"],
                per_class(matrix, names),
            ),
            write_csv(
                addresses.join(folder, f"{model}_confusion.csv"),
                ["true \\ predicted", *names],
                [(name, *row) for name, row in zip(names, matrix.tolist(), strict=True)],
            ),
            write_csv(
                addresses.join(folder, f"{model}_predictions.csv"),
                ["id", "class", "name", "predicted", "predicted_name", "probability"],
                rows,
            ),
        ]


class MultiLabel:
    """What test.py writes about videos of several classes each. Keeps nothing: thousands of scores of a million videos are too
    many, and what the metric keeps is enough."""

    def add(self, number, ids, labels, probabilities):
        """A batch; passed over."""

    def state(self):
        """What is kept: nothing."""
        return {}

    def merge(self, states):
        """Of nothing; passed over."""

    def write(self, folder, model, names, metric):
        """Videos and average precision of each class as CSV, blank where no video has the class; returns the path in a list."""
        rows = [
            (i, name, count, f"{precision:.6f}" if count else "")
            for i, (name, count, precision) in enumerate(
                zip(names, metric.positives.tolist(), metric.average_precisions(), strict=True)
            )
        ]
        return [
            write_csv(
                addresses.join(folder, f"{model}_per_class.csv"), ["class", "name", "videos", "average_precision"], rows
            )
        ]
