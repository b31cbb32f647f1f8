"""Training: one loop, exact checkpoints.

    list -> loader -> training graph (shares its parameters with the validation graph) -> log, save, validate, best
Everything random, and the learning rate, is a function of (seed, epoch, step). So a checkpoint and the list are
enough to go on bit for bit on a CPU. Under a launcher every process runs this loop on its part of each batch
(engine/distributed/group.py); process 0 alone writes.
"""

import logging
import secrets
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from datareader import loader_for
from datareader.clips.balance import balanced
from engine import bad_samples
from engine.checkpoints import finding
from engine.checkpoints.manager import CheckpointManager, best_of
from engine.checkpoints.resume import frozen, read_start
from engine.configuration import class_names
from engine.distributed.group import Group
from engine.distributed.launch import divisible
from engine.evaluator import Validation
from engine.features import datasets, settings
from engine.features.frozen import use_cached_features
from engine.graph import compat
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.graph.statistics import PreciseStatistics
from engine.graph.step import Stepper
from engine.meter import Meter
from engine.reporting.training import TrainingReport
from engine.stop import Interrupted, StopSignal
from metrics import METRICS
from storage import addresses
from utils.errors import ConfigError, RemoteError, TrainingError

__all__ = ["Trainer"]

log = logging.getLogger("zoo")

FIXED_SEED = 1000  # of the old zoo's fix_random_seed


class Trainer:
    """A training: `start` fills the parameters, `fit` trains. Raises ZooError.

    model_class, config: what `configure` returns
    save_dir: folder or address of the checkpoints
    log_interval: log every so many steps; 0 for never
    valid_interval: validate every so many epochs on VALID.filelist; 0 for never
    keep_checkpoints: how many `_epoch<N>` checkpoints to keep; 0 for all
    patience: stop when so many validations brought no better score; 0 for never
    group: the processes of this training, one by default
    amp: None, "bf16" or "fp16"
    log_dir: folder for TensorBoard, or None; pages: draw curves, and write a page at the end
    Attributes that others read: `history` (one dictionary an epoch), `checkpoints`, `names` (of the classes).
    """

    def __init__(
        self,
        model_class: type,
        config: Any,
        save_dir: str | Path = "checkpoints",
        use_gpu: bool = False,
        log_interval: int = 10,
        valid_interval: int = 1,
        keep_checkpoints: int = 0,
        patience: int = 0,
        group: Group | None = None,
        amp: str | None = None,
        log_dir: str | None = None,
        pages: bool = True,
    ):
        self.config, self.group = config, group or Group()
        self.save_dir = addresses.join(save_dir)
        self.valid_interval, self.patience = valid_interval, patience
        self.model = model_class(config, "train", self.group.world * config.TRAIN.accumulate_steps)
        self.new_metric = partial(METRICS[self.model.data], config.MODEL.num_classes, config.MODEL.topk)
        # A wrong setting or list should cost a second, not a minute: they are read before any graph is built.
        divisible(config.TRAIN, self.group.world)
        compat.check_amp(amp, use_gpu)
        self.seed = self.group.broadcast_object(_seed(config.TRAIN))
        self.train_data = datasets.from_config(self.model.data, config, "train", self.seed, self.group)
        self.loader = loader_for(self.train_data, config.TRAIN, training=True, seed=self.seed, part=self.group.part)
        if getattr(config.TRAIN, "class_weights", "none") == "balanced":
            self.model.class_weights = balanced(self.train_data.items, config)
        self.device = Device(use_gpu)
        self.validation = None
        if valid_interval > 0 and config.VALID.filelist:
            self.validation = Validation(
                model_class, config, self.device, self.new_metric, save_dir, self.group, log_interval
            )
        elif patience:
            raise ConfigError(f"--patience '{patience}' needs validation scores: set VALID.filelist, --valid_interval")
        pieces = config.TRAIN.accumulate_steps
        self.graph = Graph(self.model, training=True, group=self.group, pieces=pieces, amp=amp, use_gpu=use_gpu)
        self.stepper = Stepper(self.device, self.graph)
        self.precise = PreciseStatistics(self.device, self.model, self.graph, getattr(config.TRAIN, "precise_bn", 0))
        self.loaded = frozen(self.model, list(self.graph.parameters))
        self.checkpoints = CheckpointManager(self.save_dir, self.model.name, keep_checkpoints, self.stepper, self.group)
        total = config.TRAIN.epoch * len(self.loader)
        self.meter = Meter(self.new_metric, self.group, config.TRAIN.batch_size, total, log_interval)
        self.epoch, self.batch = 0, 0
        self.best, self.history = None, []
        self.report = TrainingReport(self, log_dir, pages)

    @property
    def step(self) -> int:
        """Number of updates made so far."""
        return self.epoch * len(self.loader) + self.batch

    @property
    def score_key(self) -> str:
        """The key of the history by which the best epoch is chosen.

        Where earlier epochs were chosen by validation, the scores of training do not replace them.
        """
        key = self.new_metric.func.best
        validated = self.validation or (self.best and self.best["key"] == f"valid_{key}")
        return f"valid_{key}" if validated else key

    # ---- the start

    def start(self, pretrain: str | None = None, resume: str | None = None) -> None:
        """Initialise, then continue a checkpoint, fine-tune weights, or load a pretrained backbone.

        pretrain: path or address of backbone weights, "none" to train from scratch, None for the released ones
        resume: path or address of a checkpoint to continue, or of weights to fine-tune
        """
        self.names = class_names(self.config, finding.state_for(resume, self.model.name))
        self.checkpoints.require_ready(self.state())
        self.device.initialise(self.graph, self.seed)
        if self.group.is_main:
            found, report = read_start(
                pretrain, resume, self.model, self.device, self.graph, self.config, len(self.loader)
            )
            self.loaded.insert(0, str(report or "from scratch"))
            if found:
                self._continue(found)
        # Process 0 alone has read weights or a checkpoint.
        state = self.group.broadcast_object([self.epoch, self.batch, self.seed, self.best, self.history])
        self.epoch, self.batch, self.seed, self.best, self.history = state
        self.loader.seed = self.train_data.seed = self.seed
        self.stepper.broadcast()

    def _continue(self, found):
        state = found.state
        self.epoch, self.batch = state["epoch"], state["batch"]
        self.seed = state.get("seed", self.seed)
        self.best, self.history = state["best"], state["history"]
        if found.meter:
            self.meter.restore(found.meter)
        log.info("resumed '%s': epoch %d, batch %d, step %d", found.prefix, self.epoch, self.batch, self.step)
        folder = addresses.parent(found.prefix)
        if self.best and folder != self.save_dir:
            log.info("its best so far, epoch %s, stays in '%s' until one here is better", self.best["epoch"], folder)

    # ---- the loop

    def fit(self) -> list[dict]:
        """Train up to TRAIN.epoch epochs; returns the history, one dictionary of results an epoch.

        After a stop signal (Ctrl-C, SIGTERM, SIGHUP) it saves, logs how to go on, and raises Interrupted.
        """
        with self.checkpoints.writing():
            self.report.start()
            use_cached_features(self)
            try:
                self._train()
            except Interrupted:
                self.report.finish()
                raise
            if self.best:
                log.info("training finished; the best epoch was %(epoch)s: %(key)s %(value).5g", self.best)
            self.report.finish()
        return self.history

    def _train(self):
        saved_on = self.checkpoints.saved_on(RemoteError, self.save_latest)
        with self.loader, StopSignal(self.group) as stop, saved_on, logging_redirect_tqdm([log]):
            if self.history and self.batch == 0:
                self.score_epoch(stop)  # where the run that is continued ended before it came to this
            while self.epoch < self.config.TRAIN.epoch:
                self.train_epoch(stop)
                if stop.agreed:
                    self.save_latest()
                    raise Interrupted
                self.end_epoch()
                self.precise.compute(self.loader, self.epoch)
                self.checkpoints.save_epoch(self.state())  # nothing below can lose the epoch
                self.score_epoch(stop)
                self.report.epoch()
                if self.should_stop_early():
                    break

    def train_epoch(self, stop: StopSignal) -> None:
        """Train to the end of the current epoch, or until `stop.agreed`."""
        if self.batch == 0:
            self.meter.reset()
        batches = tqdm(
            self.loader.epoch(self.epoch, self.batch),
            total=len(self.loader),
            initial=self.batch,
            desc=f"epoch {self.epoch}",
            unit="step",
            leave=False,
            disable=None if self.group.is_main else True,
        )
        for batch in self.meter.timed(batches):
            rate = self.model.rate(self.step, len(self.loader))
            loss, probabilities = self.stepper(batch.feed, rate, (self.seed, self.step), stop)
            self._require_finite("loss", loss)
            self.meter.update(loss, probabilities, batch, rate)
            self.report.line(self.meter.log(self.epoch, self.batch, self.step + 1))
            self.batch += 1
            if stop.agreed:
                break

    def end_epoch(self) -> None:
        """Close a whole epoch: append its row to the history."""
        bad_samples.merge(self.group, self.loader)
        self.history.append({**self.meter.result(self.epoch), "step": (self.epoch + 1) * len(self.loader)})
        self.epoch, self.batch = self.epoch + 1, 0
        if self.group.is_main:
            bad_samples.write(self.save_dir, "train", self.loader, self.model.name)

    def _require_finite(self, what, value):
        if not np.isfinite(value):
            raise TrainingError(
                f"the {what} is '{value}' at epoch {self.epoch}, iter {self.batch}: lower TRAIN.learning_rate "
                f"'{self.config.TRAIN.learning_rate}', and resume from an earlier checkpoint in '{self.save_dir}'"
            )

    def score_epoch(self, stop: StopSignal) -> None:
        """Validate the last epoch if that is due, and keep it as `_best` if it is."""
        row = self.history[-1]
        due = self.validation and self.epoch % self.valid_interval == 0 and self.score_key not in row
        if due:
            scores = self.validation.scores(stop)
            self._require_finite("validation loss", scores["loss"])
            row.update({f"valid_{key}": value for key, value in scores.items()})
        before, self.best = self.best, best_of(self.history, self.score_key)
        if due or self.best != before:
            is_best = self.best is not None and self.best != before and self.best["epoch"] == row["epoch"]
            self.checkpoints.update_epoch(self.state(), is_best)
            if is_best:
                self.report.keep_best()
        self.checkpoints.remove_old()

    def should_stop_early(self) -> bool:
        """Whether the last `patience` validations all stayed at or below the best score."""
        if not (self.patience and self.best):
            return False
        later = [row for row in self.history if row["epoch"] > self.best["epoch"] and self.score_key in row]
        if len(later) < self.patience:
            return False
        best = f"{self.best['value']:.2f} (epoch {self.best['epoch']})"
        log.info("stopping: %s has not passed %s in %d validations", self.score_key, best, len(later))
        return True

    # ---- checkpoints

    def state(self) -> dict:
        """The state of this training for a checkpoint's JSON."""
        return {
            "model": self.model.name,
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "seed": self.seed,
            "steps_per_epoch": len(self.loader),
            "best": self.best,
            "history": self.history,
            "class_names": self.names,
            "extractor": settings.recorded(self.config),
            "clip_seconds": getattr(self.train_data, "clip_seconds", None),
            "config": self.config.model_dump(),
            "paddle": paddle.__version__,
        }

    def save_latest(self) -> None:
        """Write `_latest` where training stands, in the middle of an epoch or at its start, and log how to go on."""
        self.checkpoints.save_latest(self.state(), self.meter.state() if self.batch else {})
        latest = self.checkpoints.prefix("latest")
        log.warning("interrupted at epoch %d, iter %d; go on with --resume %s", self.epoch, self.batch, latest)


def _seed(train):
    """The seed that TRAIN asks for, or a random one."""
    if train.seed is not None:
        return train.seed
    return FIXED_SEED if train.fix_random_seed else secrets.randbits(31)
