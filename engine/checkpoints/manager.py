"""Which checkpoints a training keeps in --save_dir: `<MODEL>_epoch<N>` (N from 0), `_latest` and `_best`."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from engine.checkpoints import files, parts, remote, seal
from engine.checkpoints.resume import METER
from engine.distributed.group import Group
from engine.graph.step import Stepper
from storage import addresses, locks
from utils.errors import TrainingError

__all__ = ["CheckpointManager", "best_of"]

log = logging.getLogger("zoo")


def best_of(history: list[dict], key: str) -> dict | None:
    """The first epoch with the highest finite score `key`, as {"key", "value", "epoch"}, or None.

    Only equal keys are compared: a training accuracy says nothing about a validation accuracy.
    """
    best = None
    for row in history:
        value = row.get(key)
        if value is not None and math.isfinite(value) and (best is None or value > best["value"]):
            best = {"key": key, "value": value, "epoch": row["epoch"]}
    return best


class CheckpointManager:
    """Writes the checkpoints of one training. Every process calls the same methods; process 0 writes.

    folder: path or address (--save_dir)
    model: name of the model, with which the names of its checkpoints start
    keep: how many of the newest epochs stay, 0 for all; `_latest` and `_best` always stay
    stepper: gives the values to save
    `state` is what Trainer.state returns. All methods raise CheckpointError where a checkpoint cannot be written, and
    TrainingError instead of saving parameters that are not finite.
    """

    def __init__(self, folder: str | Path, model: str, keep: int, stepper: Stepper, group: Group):
        self.folder, self.model, self.keep = folder, model, keep
        self.stepper, self.group = stepper, group
        self.oldest = 0
        self.saved_epoch = None

    def prefix(self, suffix: str) -> str | Path:
        """Path or address, without an ending, of the checkpoint `suffix`: "latest", "best" or "epoch<N>"."""
        return addresses.join(self.folder, f"{self.model}_{suffix}")

    def require_ready(self, state: dict) -> None:
        """Raise ConfigError where a state cannot be saved or another training writes to the folder."""
        seal.require_savable(state)
        if self.group.is_main:
            locks.require_unlocked(self.folder, f"{self.model}_train")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder's lock, and finish or remove what a training that died left there. Raises ConfigError."""
        with locks.locked(self.folder, f"{self.model}_train", wanted=self.group.is_main):
            if self.group.is_main:
                settle = remote.settle if addresses.is_remote(self.folder) else parts.settle
                settle(self.folder, self.model)
            yield

    def save_latest(self, state: dict, meter: dict[str, np.ndarray]) -> None:
        """Write `_latest` where training stands; `meter`: the state of a meter in the middle of an epoch."""
        self.stepper.average_statistics()
        if self.group.is_main:
            parameters, accumulators = self._values()
            accumulators.update({f"{METER}{name}": value for name, value in meter.items()})
            files.save(self.prefix("latest"), parameters, accumulators, state)
        self.group.wait()

    def save_epoch(self, state: dict) -> None:
        """Write the last epoch of the history as `_epoch<N>` and `_latest`."""
        self.stepper.average_statistics()
        self.saved_epoch = state["history"][-1]["epoch"]
        if self.group.is_main:
            epoch = self.prefix(f"epoch{self.saved_epoch}")
            files.save(epoch, *self._values(), state)
            files.link(epoch, self.prefix("latest"))
            log.info("saved '%s'", epoch)
        self.group.wait()

    def update_epoch(self, state: dict, is_best: bool) -> None:
        """Add to the last epoch's checkpoints what was found since (its scores); make it `_best` if it is.

        `_best` is written first: after a death in between, the epoch has no scores yet and is scored again.
        """
        if self.saved_epoch is None:  # this run continues one that ended before it came to this
            self.save_epoch({**state, "best": None})
        if self.group.is_main:
            epoch = self.prefix(f"epoch{self.saved_epoch}")
            if is_best:
                files.link(epoch, self.prefix("best"), state)
                best = state["best"]
                log.info("saved '%s', the best so far: %s %.5g", self.prefix("best"), best["key"], best["value"])
            files.rewrite(epoch, state, twin=self.prefix("best"))
            files.rewrite(self.prefix("latest"), state, twin=epoch)
        self.group.wait()

    @contextlib.contextmanager
    def saved_on(self, error: type[Exception], save: Callable[[], None]) -> Iterator[None]:
        """Call `save` when `error` ends the block, which goes on being raised."""
        try:
            yield
        except error:
            if self.group.world == 1:  # other processes did not see this error and would never join the save
                save()
            raise

    def _values(self):
        """(parameters, optimizer state). Raises TrainingError where a parameter is not finite."""
        parameters, accumulators = self.stepper.values()
        broken = [name for name, array in parameters.items() if not np.isfinite(array).all()]
        if broken:
            raise TrainingError(
                f"{len(broken)} of {len(parameters)} parameters are no longer finite numbers ('{broken[0]}'), so "
                f"nothing was saved: lower TRAIN.learning_rate, and resume from an earlier one in '{self.folder}'"
            )
        return parameters, accumulators

    def remove_old(self) -> None:
        """Remove the epochs that are not kept, which is safe once the last one has been scored."""
        if self.group.is_main and self.keep > 0 and self.saved_epoch is not None:
            oldest = max(self.oldest, self.saved_epoch - self.keep + 1)
            for number in range(self.oldest, oldest):
                files.remove(self.prefix(f"epoch{number}"))
            self.oldest = oldest
