"""The page of an evaluation: scores with intervals, classes from the worst, confusions, calibration, worst mistakes."""

import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reports import plots, statistics
from reports.evaluation import Classification, class_precisions
from reports.pages import page
from reports.pictures import data_uri, pixels
from storage import addresses

TOP = 12  # rows of the class table that are open from the start
HEAD = {"loss": "loss", "hit_at_one": "Hit@1", "perr": "PERR", "gap": "GAP", "map": "mAP"}
MEANING = {
    "hit_at_one": "videos whose best class is right",
    "perr": "precision at equal recall rate",
    "gap": "global average precision",
    "map": "mean average precision over classes",
}


@dataclass(frozen=True)
class Picture:
    """A plot: the file beside the page that it becomes, its alternative text, and the PNG itself."""

    file: str
    alt: str
    png: bytes

    @property
    def uri(self) -> str:
        return data_uri(self.png)


def prepare() -> None:
    """Import what draws and writes pages, a second of work, in a thread: the network leaves Python's lock free."""
    threading.Thread(target=partial(page.attempt, "preparation of pictures", _prepare), name="pages").start()


def _prepare():
    plots.prepare()
    page.prepare()
    return []


def headline(result: dict, scored: int) -> list[dict]:
    """Cards {"name", "value", "note"}: accuracies in percent with their 95 % interval, other scores as they are."""
    cards = []
    for key, value in result.items():
        if key.startswith("top"):
            low, high = statistics.wilson(round(value * scored / 100), scored)
            cards.append(
                {"name": f"top-{key[3:]}", "value": f"{value:.2f} %", "note": f"95 %: {low:.1f} to {high:.1f}"}
            )
        elif key in HEAD:
            digits = f"{value:.4f}"
            cards.append({"name": HEAD[key], "value": digits, "note": MEANING.get(key, "")})
    return [card for card in cards if card["name"] != "loss"] + [card for card in cards if card["name"] == "loss"]


def classification(kept: Classification, names: list[str], result: dict) -> dict:
    """Values of `_classification.html`: of what was kept of an evaluation, class names, and the metric's result."""
    found = kept.arrays()
    predicted, scored = found["best"][:, 0], len(found["labels"])
    matrix = statistics.confusion(found["labels"], predicted, len(names))
    calibrated = statistics.calibration(found["scores"][:, 0], predicted == found["labels"])
    rows = [row for row in statistics.per_class(matrix, names) if row[2]]
    rows.sort(key=lambda row: (float(row[4]), -row[2]))
    pairs = statistics.confused_pairs(matrix)
    return {
        "kind": kept.kind,
        "cards": headline(result, scored),
        "scored": scored,
        "rows": rows,
        "top": TOP,
        "empty": [name for name, clips in zip(names, matrix.sum(axis=1), strict=True) if not clips],
        "pairs": [(names[true], names[guess], count, int(matrix[true].sum())) for true, guess, count in pairs],
        "pictures": [
            Picture("confusion_matrix", "Confusion matrix in clips", plots.confusion_matrix(matrix, names)),
            Picture(
                "confusion_matrix_normalized",
                "Confusion matrix in percent of the true class",
                plots.confusion_matrix(matrix, names, normalized=True),
            ),
            Picture("calibration", "Reliability diagram", plots.calibration(calibrated)),
        ],
        "error": f"{100 * calibrated.error:.1f}",
        "confidence": f"{100 * float(found['scores'][:, 0].mean()):.1f}",
        "accuracy": f"{100 * float((predicted == found['labels']).mean()):.1f}",
        "mistakes": list(_mistakes(kept, found, names)),
        "wrong": int((predicted != found["labels"]).sum()),
        "views": kept.views,
    }


def _mistakes(kept, found, names):
    """The worst mistakes, the most confident ones first, with the frames that the model saw."""
    places = {index: place for place, index in enumerate(found["indices"].tolist())}
    for _, index, strip in kept.mistakes:
        place = places[index]
        label, best = int(found["labels"][place]), found["best"][place].tolist()
        guesses = [(names[c], float(p), c == label) for c, p in zip(best, found["scores"][place], strict=True)][:3]
        yield {
            "id": str(found["ids"][place]),
            "true": names[label],
            "truth": float(found["truth"][place]),
            "guesses": guesses,
            "strip": strip,
            "picture": data_uri(strip),
        }


def multilabel(names: list[str], result: dict, metric: Any) -> dict:
    """Values of `_multilabel.html`, of a YouTube8M metric."""
    rows = [row for row in class_precisions(names, metric) if row[2]]
    rows.sort(key=lambda row: (float(row[3]), -row[2]))
    pooled = metric.state()
    scores, hits = np.asarray(pooled["scores"]), np.asarray(pooled["hits"], bool)
    curve = statistics.precision_recall(scores, hits, int(metric.positives.sum()))
    return {
        "kind": "multilabel",
        "cards": headline(result, metric.count),
        "scored": metric.count,
        "rows": rows,
        "top": TOP,
        "empty": [name for name, count in zip(names, metric.positives.tolist(), strict=True) if not count],
        "pictures": [
            Picture("precision_recall", "Precision at recall", plots.precision_recall(*curve)),
            Picture("score_histogram", "Histogram of the scores", plots.score_histogram(scores, hits)),
        ],
    }


def for_dashboard(found: dict) -> dict[str, np.ndarray]:
    """{name: RGB uint8 [H, W, 3]} of the plots of a page, and of its eight worst mistakes in one picture.

    found: what `values` returns
    """
    images = {each.file: pixels(each.png) for each in found["pictures"]}
    rows = [
        (f"{each['true']}, taken for {each['guesses'][0][0]} ({100 * each['guesses'][0][1]:.0f} %)", each["strip"])
        for each in found.get("mistakes", [])[:8]
    ]
    if rows:
        titles = plots.labels([title for title, _ in rows], longest=60)
        strips = [pixels(strip) for _, strip in rows]
        images["worst_mistakes"] = pixels(plots.mistakes(list(zip(titles, strips, strict=True))))
    return images


def values(kept: Any, names: list[str], result: dict, metric: Any) -> dict:
    """Values of the page's part about scores, by the kind of what was kept."""
    return classification(kept, names, result) if kept.kind == "classification" else multilabel(names, result, metric)


def write(folder: str | Path, model: str, found: dict, facts: page.Facts) -> list:
    """Write `<model>_report.html` and its pictures as PNG files; returns the paths, the page first."""
    paths = [page.write_png(addresses.join(folder, f"{model}_{each.file}.png"), each.png) for each in found["pictures"]]
    title = f"{model}: {found['cards'][0]['name']} {found['cards'][0]['value']}"
    target = addresses.join(folder, f"{model}_report.html")
    page.write(target, "evaluation.html", title=title, report=found, facts=facts, versions=page.versions())
    return [target, *paths]
