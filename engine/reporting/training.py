"""The files of a training for people: a journal while it runs, the validation of its best epoch, a page at its end."""

import logging
from typing import Any

import numpy as np
import paddle

from engine.configuration import changed_keys
from engine.reporting.testing import unreadable
from reports import REPORTS, tables
from reports.history import Journal
from reports.pages import evaluation, page, training
from storage import addresses
from storage.files import write_file

log = logging.getLogger("zoo")


class TrainingReport:
    """Writes in process 0; in the others every method is a no-op.

    trainer: the engine.trainer.Trainer that calls this
    log_dir: folder for TensorBoard, or None
    pages: draw curves after each validation, and write the page at the end
    Raises ConfigError where `log_dir` cannot be served.
    """

    def __init__(self, trainer: Any, log_dir: str | None = None, pages: bool = True):
        self.trainer, self.pages = trainer, pages
        self.journal = None
        if trainer.group.is_main:
            self.journal = Journal(trainer.save_dir, trainer.model.name, log_dir, pages)

    def start(self) -> None:
        """Log what will be done; continue the files of an earlier run."""
        trainer, config = self.trainer, self.trainer.config
        samples, steps, epochs = len(trainer.train_data), len(trainer.loader), config.TRAIN.epoch
        left = samples % trainer.loader.batch_size
        log.info(
            "%s: %d samples%s of %d classes, %d steps an epoch, %d epochs, on %s, seed %d",
            trainer.model.name,
            samples,
            f" (of which {left} are left over each time)" if left else "",
            config.MODEL.num_classes,
            steps,
            epochs,
            _where(trainer),
            trainer.seed,
        )
        if trainer.epoch >= epochs:
            log.warning(
                "nothing to do: %d of TRAIN.epoch '%d' epochs are done; raise it with --epoch", trainer.epoch, epochs
            )
        if self.journal:
            self.journal.start(trainer.step, trainer.history)
        if self.journal and self.pages:
            evaluation.prepare()

    def line(self, values: dict | None) -> None:
        """The values of a log line; None where none was due."""
        if self.journal and values:
            self.journal.line(values)

    def epoch(self) -> None:
        """An epoch is over and scored."""
        if self.journal:
            self.journal.epoch(self.trainer.history, self.trainer.best)
            if any(key.startswith("valid_") for key in self.trainer.history[-1]):
                self.journal.validated(self._images, self.trainer.step)

    def _images(self):
        validation = self.trainer.validation
        result = validation.metric.result()
        return evaluation.for_dashboard(
            evaluation.values(validation.kept, self.trainer.names, result, validation.metric)
        )

    def keep_best(self) -> None:
        """The last validation was the best so far: keep what it predicted."""
        if self.journal and self.pages and self.trainer.validation:
            page.attempt("record of the best validation", self._write_best)

    @property
    def _best_path(self):
        return addresses.join(self.trainer.save_dir, f"{self.trainer.model.name}_best_valid.npz")

    def _write_best(self):
        validation = self.trainer.validation
        parts = {"kept": validation.kept, "metric": validation.metric}
        arrays = {f"{part}.{name}": array for part, owner in parts.items() for name, array in owner.state().items()}
        place = [self.trainer.best["epoch"], self.trainer.best["value"]]
        return [write_file(self._best_path, lambda file: np.savez(file, place=np.array(place), **arrays), "wb")]

    def _read_best(self):
        """Values of the page on the validation of the best epoch; None if the kept validation is of another epoch."""
        trainer, path = self.trainer, self._best_path
        if not trainer.best or not addresses.exists(path):
            return None
        with addresses.reading(path) as copy, np.load(copy, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if arrays["place"].tolist() != [trainer.best["epoch"], trainer.best["value"]]:
            return None
        kept, metric = REPORTS[trainer.model.data](trainer.config.VALID.views), trainer.new_metric()
        for part, owner in (("kept.", kept), ("metric.", metric)):
            owner.merge([{name.removeprefix(part): arrays[name] for name in arrays if name.startswith(part)}])
        return evaluation.values(kept, trainer.names, metric.result(), metric)

    def finish(self) -> None:
        """At the end of a training, or when it is interrupted: log the table, write the page, log the paths."""
        if not self.journal or not self.trainer.history:
            return
        self.journal.close()
        paths = (page.attempt("report", self._write_page) if self.pages else None) or []
        log.info("%s", tables.table(_rows(self.trainer.history, self.trainer.best)))
        log.info("written: %s", ", ".join(map(str, [*paths[:1], self.journal.path("results.csv")])))

    def _write_page(self):
        trainer, config = self.trainer, self.trainer.config
        samples = [_samples("training", config.TRAIN, trainer.train_data, trainer.loader)]
        if trainer.validation:
            samples.append(_samples("validation", config.VALID, trainer.validation.data, trainer.validation.loader))
        found = training.Training(
            trainer.model.name,
            trainer.names,
            trainer.history,
            trainer.best,
            self._read_best(),
            samples,
            trainer.loaded,
            changed_keys(config, "train", "valid"),
        )
        facts = page.Facts(command=page.command(), protocol=page.protocol(config, "train"))
        return training.write(trainer.save_dir, found, facts)


def _where(trainer):
    """The device, and how many processes share the work."""
    device = "the CPU" if isinstance(trainer.device.place, paddle.CPUPlace) else "a GPU"
    return device if trainer.group.world == 1 else f"{device} in each of {trainer.group.world} processes"


def _samples(title, section, dataset, loader):
    """A list as the page shows it; the labels of feature shards are known only when they are read."""
    items = getattr(dataset, "items", [])
    return training.Samples(
        title,
        str(section.filelist),
        len(dataset),
        [item.label for item in items if item.label is not None],
        [item.path for item in items],
        unreadable(loader) if loader else [],
    )


def _rows(history, best):
    """Rows of the table at the end: the best epoch and the last one."""
    last = history[-1]
    shown = {f"last epoch ({last['epoch']})": last}
    if best and best["epoch"] != last["epoch"]:
        row = next((row for row in history if row["epoch"] == best["epoch"]), None)
        shown = {f"best epoch ({best['epoch']})": row, **shown} if row else shown
    keys = [key for key in last if key == "loss" or key.startswith(("top", "valid_", "gap", "map", "hit", "perr"))]
    numbers = [[f"{row[key]:.4f}" if key in row else "" for key in keys] for row in shown.values()]
    return [("", *keys), *((name, *row) for name, row in zip(shown, numbers, strict=True))]
