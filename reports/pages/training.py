"""The page of a training: curves, the validation of the best epoch, the data, and what was loaded and frozen."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datareader.clips.video import probe
from reports import curves, plots
from reports.pages import page
from reports.pages.evaluation import HEAD, Picture
from storage import addresses
from utils.errors import ZooError

OPENED = 100  # clips of a list whose lengths are looked up


@dataclass(frozen=True)
class Samples:
    """A list: its samples, the labels of them that the list tells, and those that could not be read."""

    title: str  # training, validation
    filelist: str
    count: int
    labels: list = field(default_factory=list)
    paths: list = field(default_factory=list)
    bad: list = field(default_factory=list)  # {"id", "error"}


@dataclass(frozen=True)
class Training:
    """The outcome of a training. `validation`: values of pages.evaluation of the best epoch, or None."""

    model: str
    names: list
    history: list
    best: dict | None = None
    validation: dict | None = None
    samples: list = field(default_factory=list)
    weights: list = field(default_factory=list)  # lines on what was loaded and frozen
    differences: list = field(default_factory=list)  # (key, value of the recipe, value here)


def classes(samples: list[Samples], names: list[str]) -> list[tuple]:
    """Rows (class name, clips in each list ...), rarest in the first list first; none if no list tells its labels."""
    counts = [Counter(each.labels) for each in samples]
    if not any(counts):
        return []
    rows = [(name, *(count[i] for count in counts)) for i, name in enumerate(names)]
    return sorted(rows, key=lambda row: row[1:])


def lengths(paths: list) -> np.ndarray:
    """Frames of up to OPENED clips, spread over the list; of files that are here and can be opened."""
    local = [path for path in paths if not addresses.is_remote(path)]
    found = []
    for place in np.linspace(0, len(local) - 1, min(OPENED, len(local))).astype(int):
        try:
            found.append(probe(local[place]).frames)
        except (ZooError, OSError):
            continue
    return np.array(found, int)


def _data(samples, names):
    """Values of the data section of the page."""
    found = lengths(samples[0].paths) if samples else np.empty(0, int)
    return {
        "samples": samples,
        "classes": classes(samples, names),
        "lengths": None
        if not len(found)
        else {
            "count": len(found),
            "low": int(found.min()),
            "middle": int(np.median(found)),
            "high": int(found.max()),
            "picture": Picture("lengths", "Histogram of the lengths of the clips", plots.lengths(found)),
        },
    }


def cards(training: Training) -> list[dict]:
    """The best score, the last loss, and the speed of the last epoch."""
    last, best = training.history[-1], training.best
    found = []
    if best:
        key = best["key"].removeprefix("valid_")
        value = f"{best['value']:.2f} %" if key.startswith("top") else f"{best['value']:.4f}"
        where = "validation" if best["key"].startswith("valid_") else "training"
        found.append({"name": f"best {_named(key)}", "value": value, "note": f"{where}, epoch {best['epoch']}"})
    found.append({"name": "training loss", "value": f"{last['loss']:.4f}", "note": f"epoch {last['epoch']}, the last"})
    if "valid_loss" in last:
        note = f"epoch {last['epoch']}, the last"
        found.append({"name": "validation loss", "value": f"{last['valid_loss']:.4f}", "note": note})
    if "samples_per_second" in last:
        note = f"{100 * last.get('data_share', 0):.0f} % of the time waiting for data"
        found.append({"name": "speed", "value": f"{last['samples_per_second']:.1f} samples/s", "note": note})
    return found


def _named(key):
    return HEAD.get(key, f"top-{key[3:]}")


def write(folder: str | Path, training: Training, facts: page.Facts) -> list:
    """Write `<model>_train_report.html`; returns its path and those of the pictures beside it."""
    pictures = training.validation["pictures"] if training.validation else []
    paths = [
        page.write_png(addresses.join(folder, f"{training.model}_valid_{each.file}.png"), each.png) for each in pictures
    ]
    drawn = curves.panels(training.history, training.best)
    alt = {"loss": "Loss by epoch", "score": "Score by epoch", "rate": "Learning rate", "time": "Speed by epoch"}
    target = addresses.join(folder, f"{training.model}_train_report.html")
    epochs = "1 epoch" if len(training.history) == 1 else f"{len(training.history)} epochs"
    page.write(
        target,
        "training.html",
        title=f"{training.model}: {epochs}",
        training=training,
        cards=cards(training),
        curves=[Picture(name, alt[name], png) for name, png in drawn.items()],
        data=_data(training.samples, training.names),
        report=training.validation,
        facts=facts,
        versions=page.versions(),
    )
    return [target, *paths]
