"""Training: one loop, exact checkpoints.

    list -> loader -> train graph (one scope with the valid graph) -> log, validate, checkpoint, best
Everything random is a function of (seed, epoch, step), and the rate of the step, so that a checkpoint and the list are
enough to go on bit for bit on a CPU. Under a launcher every process runs this loop on its slice of each batch
(engine/distributed/group.py); process 0 alone writes.
"""

import logging
import secrets
import time
from functools import partial

import numpy as np
import paddle
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from datareader import READERS, loader_for
from datareader.clips.balance import balanced
from engine import bad_samples
from engine.checkpoints import files as checkpoint
from engine.checkpoints.manager import Kept
from engine.configuration import class_names
from engine.distributed.group import Group
from engine.distributed.launch import divisible
from engine.evaluator import evaluate, gathered
from engine.graph import compat
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.meter import Meter
from engine.stop import Interrupted, StopRequest
from engine.weights import load as weights
from metrics import METRICS
from storage import addresses
from utils.errors import ConfigError, DataError, RemoteError, TrainingError

log = logging.getLogger("zoo")

FIXED_SEED = 1000  # what the old zoo's fix_random_seed stood for


class Trainer:
    """Built from a model class and its configuration; `start` fills the parameters, `run` trains. Raises ZooError."""

    def __init__(
        self,
        model_class,
        config,
        save_dir="checkpoints",
        use_gpu=False,
        log_interval=10,
        valid_interval=1,
        keep_checkpoints=0,
        patience=0,
        group=None,
        amp=None,
    ):
        self.config, self.save_dir, self.group = config, addresses.join(save_dir), group or Group()
        self.log_interval, self.valid_interval, self.patience = log_interval, valid_interval, patience
        self.model = model_class(config, "train", self.group.world * config.TRAIN.accumulate_steps)
        self.kept = Kept(self.save_dir, self.model.name, keep_checkpoints)
        self.reader = READERS[self.model.data]
        self.metric = partial(METRICS[self.model.data], config.MODEL.num_classes, config.MODEL.topk)
        # Lists are read before anything is built: a wrong path should cost a second, not a minute.
        divisible(config.TRAIN, self.group.world)
        compat.check_amp(amp, use_gpu)
        self.seed = self.group.share(self._seed())
        self.train_data = self.reader.from_config(config, "train", self.seed)
        self.valid_data = (
            self.reader.from_config(config, "valid") if valid_interval > 0 and config.VALID.filelist else None
        )
        self.loader = loader_for(self.train_data, config.TRAIN, training=True, seed=self.seed, part=self.group.part)
        if patience and not self.valid_data:
            raise ConfigError(
                f"--patience '{patience}' watches the validation score: set VALID.filelist and a --valid_interval above 0"
            )
        if getattr(config.TRAIN, "class_weights", "none") == "balanced":
            self.model.class_weights = balanced(self.train_data.items, config)
        self.device = Device(use_gpu)
        pieces = config.TRAIN.accumulate_steps
        self.graph = Graph(self.model, training=True, group=self.group, pieces=pieces, amp=amp, use_gpu=use_gpu)
        self._check_prefixes()
        self.valid_graph = Graph(model_class(config, "valid", self.group.world)) if self.valid_data else None
        self.epoch, self.batch, self.best, self.history = 0, 0, None, []

    def _check_prefixes(self):
        """Say what fine-tuning settings do; ConfigError for a prefix that no parameter has."""
        names = list(self.graph.parameters)
        unused = self.model.tuning().unused(names)
        if unused:
            raise ConfigError(
                f"TRAIN.freeze or TRAIN.lr_multipliers '{unused[0]}': no parameter of {self.model.name} starts so; "
                f"its names are {', '.join(names[:3])}, ...; `python -m engine.weights inspect` lists those of a file"
            )
        frozen = [name for name in names if self.model.tuning().rate(name) == 0]
        if frozen:
            log.info("frozen: %d of %d tensors stay as they are", len(frozen), len(names))

    def _seed(self):
        train = self.config.TRAIN
        if train.seed is not None:
            return train.seed
        return FIXED_SEED if train.fix_random_seed else secrets.randbits(31)

    @property
    def step(self):
        return self.epoch * len(self.loader) + self.batch

    def start(self, pretrain=None, resume=None):
        """Initialise, then continue a checkpoint, fine-tune weights, or load a pretrained backbone ('none': from scratch)."""
        self.names = class_names(self.config, resume)
        self.device.initialise(self.graph, self.seed)
        if self.group.first:
            self._read_weights(pretrain, resume)
        self._copy_from_first()

    def _read_weights(self, pretrain, resume):
        if resume:
            self._resume(resume)
        elif self.model.not_in_backbone:
            source = weights.require_backbone(pretrain, self.model)
            if source:
                self._put(weights.backbone, source)
        elif pretrain and pretrain.lower() != "none":
            self._put(weights.finetune, pretrain)

    def _copy_from_first(self):
        """What process 0 starts with, on every process; only it has read weights or a checkpoint."""
        where = [self.epoch, self.batch, self.best, self.history, self.seed]
        self.epoch, self.batch, self.best, self.history, self.seed = self.group.share(where)
        self.loader.seed = self.train_data.seed = self.seed
        if self.group.world > 1:
            self.device.set(self.group.copy(self.device.get([*self.graph.parameters, *self.graph.accumulators()])))

    def _put(self, rule, source):
        return weights.put(rule, self.device, self.graph, self.model, source)

    def _resume(self, path):
        prefix = checkpoint.resolve(path, self.model.name)
        state = checkpoint.state_of(prefix)
        if state is None:
            log.warning("--resume '%s' holds weights only: starting a fine-tune at epoch 0 with a new optimizer", path)
            self._put(weights.finetune, path)
            return
        parameters, accumulators, state = checkpoint.load(prefix)
        if self._put(partial(weights.finetune, called=prefix), parameters).reinitialised:
            log.warning("--resume '%s': another number of classes, so this is a fine-tune from epoch 0", path)
            return
        wanted = self.graph.accumulators()
        self.device.set({name: accumulators[name] for name in wanted if name in accumulators})
        self.epoch, self.batch, self.best, self.history = (
            state["epoch"],
            state["batch"],
            state["best"],
            state["history"],
        )
        self.seed = state["seed"]
        lacking = [name for name in wanted if name not in accumulators]
        if lacking:
            log.warning(
                "the continuation is not exact: '%s.pdopt' lacks %d of %d tensors of the optimizer, which start anew: %s%s",
                prefix,
                len(lacking),
                len(wanted),
                ", ".join(lacking[:3]),
                ", ..." if len(lacking) > 3 else "",
            )
        changed = checkpoint.changes(state, self.config.model_dump(), len(self.loader))
        if changed:
            log.warning(
                "the continuation is not exact, since the checkpoint was made with other settings: %s",
                "; ".join(changed),
            )
        log.info("resumed '%s': epoch %d, batch %d, step %d", prefix, self.epoch, self.batch, self.step)
        if self.best and addresses.parent(prefix) != self.save_dir:
            log.info(
                "its best so far, epoch %s, stays in '%s' until one here is better",
                self.best.get("epoch"),
                addresses.parent(prefix),
            )

    def run(self):
        """Train up to TRAIN.epoch epochs; returns the history of results. Ctrl-C saves, says how to go on, and raises."""
        left = len(self.train_data) % self.loader.batch_size
        log.info(
            "%s: %d samples, %d steps an epoch%s, seed %d",
            self.model.name,
            len(self.train_data),
            len(self.loader),
            f" (others {left} left over each time)" if left else "",
            self.seed,
        )
        if self.epoch >= self.config.TRAIN.epoch:
            log.warning(
                "nothing to do: %d of TRAIN.epoch '%d' epochs are done; raise it with --epoch",
                self.epoch,
                self.config.TRAIN.epoch,
            )
        with StopRequest() as stop, logging_redirect_tqdm([log]):
            while self.epoch < self.config.TRAIN.epoch:
                try:
                    result = self._train_epoch(stop)
                except RemoteError:  # the data is out of reach, what was learnt is not
                    if self.group.world == 1:  # the others do not know of it and would not come to save
                        self._save_interrupted()
                    raise
                if self.batch < len(self.loader):
                    self._save_interrupted()
                    raise Interrupted
                done, self.epoch, self.batch = self.epoch, self.epoch + 1, 0
                if self.valid_data and (done + 1) % self.valid_interval == 0:
                    try:
                        result = {**result, **{f"valid_{key}": value for key, value in self._validate().items()}}
                    except (
                        DataError,
                        RemoteError,
                    ):  # the list cannot be read, on any process: the epoch is worth keeping
                        self._save_epoch(done, result)
                        raise
                self._save_epoch(done, result)
                if self._exhausted():
                    break
        if self.best:
            log.info(
                "training finished; the best epoch was %s: %s %.5g",
                *(self.best.get(key) for key in ("epoch", "key", "value")),
            )
        return self.history

    def _exhausted(self):
        """Whether the last `patience` validations all stayed below the best score."""
        best, key = self.best, f"valid_{self.metric.func.best}"
        later = [result for result in self.history if best and result["epoch"] > best["epoch"] and key in result]
        if not self.patience or len(later) < self.patience:
            return False
        log.info(
            "stopping: %s has not passed %.2f (epoch %d) in %d validations",
            key,
            best["value"],
            best["epoch"],
            len(later),
        )
        return True

    def _train_epoch(self, stop):
        metric, recent, stopping, alone = self.metric(), self.metric(), False, self.group.world == 1
        meter = Meter(self.config.TRAIN.epoch * len(self.loader), self.step)
        batches = self.loader.epoch(self.epoch, self.batch)
        bar = tqdm(
            total=len(self.loader),
            initial=self.batch,
            desc=f"epoch {self.epoch}",
            unit="step",
            leave=False,
            disable=None if self.group.first else True,
        )
        with bar:
            while not (stopping or alone and stop.requested) and (batch := meter.wait_for(batches)) is not None:
                loss, probabilities, stopping = meter.compute(
                    lambda feed=batch.feed: self.update(feed, stop.requested), self.config.TRAIN.batch_size
                )
                self._check(loss)
                for each in (metric, recent):
                    each.update(probabilities, batch.feed["label"], loss, self.batch)
                if self.log_interval > 0 and self.batch % self.log_interval == 0:
                    log.info(
                        "[TRAIN] Epoch %d, iter %d %s\tlr: %g, %s",
                        self.epoch,
                        self.batch,
                        recent.line(gathered(self.group, recent)),
                        self.graph.rate.last_lr,
                        meter,
                    )
                    recent.reset()
                self.batch += 1
                bar.update()
        batches.close()
        if self.batch < len(self.loader):
            return {}
        bad_samples.merge(self.group, self.loader)
        result = gathered(self.group, metric)
        log.info(
            "[TRAIN] Epoch %d training finished, average time: %.4f%s",
            self.epoch,
            meter.seconds_per_step,
            metric.line(result),
        )
        for sentence in meter.verdict():
            log.info("%s", sentence)
        return {
            "epoch": self.epoch,
            **result,
            "data_share": meter.data_share,
            "samples_per_second": meter.samples_per_second,
            "seconds_per_step": meter.seconds_per_step,
        }

    def update(self, feed, stop=False):
        """One update by a batch, at the rate of the step: (loss, probabilities, whether this or another process wants to stop)."""
        self.graph.rate.set(self.model.rate(self.step, len(self.loader)))
        return self.device.train(
            self.graph, feed, [self._dropout_seed(piece) for piece in range(self.graph.pieces)], stop
        )

    def _dropout_seed(self, piece):
        place = [self.group.rank, piece] if self.group.rank or piece else []
        return int(np.random.SeedSequence([self.seed, self.step, *place]).generate_state(1)[0])

    def _check(self, loss):
        if not np.isfinite(loss):
            raise TrainingError(
                f"the loss is '{float(loss)}' at epoch {self.epoch}, iter {self.batch}: lower TRAIN.learning_rate "
                f"'{self.config.TRAIN.learning_rate}', or resume from the last checkpoint in '{self.save_dir}'"
            )

    def _validate(self):
        started = time.monotonic()
        self._average_statistics()
        loader = loader_for(self.valid_data, self.config.VALID, part=self.group.part)
        try:
            metric = evaluate(self.device, self.valid_graph, loader, self.metric, self.log_interval, group=self.group)
            if loader.lost:  # a score of a part of the list is none to choose the best by
                raise RemoteError(loader.lost)
            result = self.group.share(metric.result() if self.group.first else None)
        finally:
            if self.group.first:
                bad_samples.write(self.save_dir, "valid", loader)
        total = len(self.valid_data)
        log.info(
            "[TEST] Finish%s\tscored %d of %d in %.1f s",
            self.metric.func.line(result, final=True),
            total - len(loader.bad),
            total,
            time.monotonic() - started,
        )
        return result

    # ---- checkpoints

    def _state(self):
        return {
            "format": checkpoint.FORMAT,
            "model": self.model.name,
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "seed": self.seed,
            "steps_per_epoch": len(self.loader),
            "best": self.best,
            "history": self.history,
            "class_names": self.names,
            "config": self.config.model_dump(),
            "paddle": paddle.__version__,
        }

    def _average_statistics(self):
        """Each process's batch norms have seen other samples: all keep the mean of their statistics. Frozen weights stay as they are."""
        if self.group.world > 1:
            names = [name for name, (_, trainable) in self.graph.parameters.items() if not trainable]
            self.device.set(self.group.mean(self.device.get(names)))

    def _contents(self):
        parameters, accumulators = map(self.device.get, (self.graph.parameters, self.graph.accumulators()))
        return parameters, accumulators, self._state()

    def _save_epoch(self, done, result):
        """The best so far is the epoch whose chosen score is the highest."""
        self.history.append(result)
        key = f"valid_{self.metric.func.best}" if self.valid_data else self.metric.func.best
        is_best = key in result and (self.best is None or result[key] > self.best["value"])
        if is_best:
            self.best = {"key": key, "value": result[key], "epoch": done}
        self._average_statistics()
        if self.group.first:
            self.kept.save_epoch(done, self._contents(), self.best if is_best else None)
            bad_samples.write(self.save_dir, "train", self.loader)
        self.group.wait()

    def _save_interrupted(self):
        self._average_statistics()
        if self.group.first:
            self.kept.save("latest", self._contents())
        log.warning(
            "interrupted at epoch %d, iter %d; go on with --resume %s",
            self.epoch,
            self.batch,
            self.kept.prefix("latest"),
        )
        self.group.wait()
