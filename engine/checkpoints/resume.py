"""Continuing a training from a checkpoint, or saying why it cannot be continued exactly."""

import logging
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.checkpoints import files, finding, fluid, seal
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.weights import load as weights
from models.base import Model
from storage import addresses
from utils.errors import ConfigError

__all__ = ["METER", "Resumed", "frozen", "read_start", "resume"]

log = logging.getLogger("zoo")

METER = "meter@"  # before the names of a meter's arrays, which lie among those of the optimizer in .pdopt


class Resumed(NamedTuple):
    """The content of a checkpoint besides the values that `resume` has set in the device."""

    prefix: str
    state: dict
    meter: dict[str, np.ndarray]


def frozen(model: Model, names: list[str]) -> list[str]:
    """Log and return a line on the parameters, of these `names`, that are not trained; none where all are.

    Raises ConfigError for a prefix of TRAIN.freeze or lr_multipliers that no parameter has."""
    tuning = model.tuning()
    unused = tuning.unused(names)
    if unused:
        raise ConfigError(
            f"TRAIN.freeze or TRAIN.lr_multipliers '{unused[0]}': no {model.name} parameter name starts with this; "
            f"names are {', '.join(names[:3])}, ...; `python -m engine.weights inspect` lists those of a file"
        )
    count = sum(tuning.rate(name) == 0 for name in names)
    if not count:
        return []
    said = f"frozen: {count} of {len(names)} tensors stay as they are"
    log.info("%s", said)
    return [said]


def read_start(
    pretrain: str | None,
    source: str | None,
    model: Model,
    device: Device,
    graph: Graph,
    config: Any,
    steps_per_epoch: int,
) -> tuple:
    """Set the values that training starts from.

    Returns (the checkpoint if one is continued, else None; the report of loading, or None from scratch).

    pretrain: backbone weights; "none" for none of them, None for the released ones
    source: checkpoint to continue or weights to fine-tune; wins over `pretrain`
    """
    if source:
        return resume(source, model, device, graph, config, steps_per_epoch)
    device.set(weights.constants(model))
    found = weights.require_pretrained(pretrain, model)
    if not found:
        return None, None
    return None, weights.load_into(weights.pretrained_rule(model), device, graph, model, found)


def resume(path: str | Path, model: Model, device: Device, graph: Graph, config: Any, steps_per_epoch: int) -> tuple:
    """Set parameters and optimizer state of `graph` to those of a checkpoint, in any spelling of its path.

    Returns (what it holds, the report of loading); (None, report) where this can only be a fine-tune from epoch 0:
    released weights, or another number of classes. Warns about everything that makes the continuation inexact. Raises
    CheckpointError, WeightsError.
    """
    prefix = finding.resolve(path, model.name)
    if files.state_of(prefix) is None:
        return _resume_weights(path, model, device, graph)
    parameters, accumulators, state = files.load(prefix)
    rule = partial(weights.finetune, called=prefix)
    report = weights.load_into(rule, device, graph, model, parameters)
    if report.reinitialised:
        log.warning("--resume '%s': another number of classes, so this is a fine-tune from epoch 0", path)
        return None, report
    wanted = graph.accumulators()
    device.set({name: accumulators[name] for name in wanted if name in accumulators})
    _warn_missing(prefix, wanted, [name for name in wanted if name not in accumulators])
    changed = seal.changes(state, config.model_dump(), steps_per_epoch)
    if changed:
        log.warning(
            "the continuation is not exact, since the checkpoint was made with other settings: %s", "; ".join(changed)
        )
    meter = {name.removeprefix(METER): value for name, value in accumulators.items() if name.startswith(METER)}
    return Resumed(prefix, state, meter), report


def _resume_weights(path, model, device, graph):
    """Continue a checkpoint of the first-generation zoo, which has no JSON, or else fine-tune weights."""
    report = weights.load_into(weights.finetune, device, graph, model, path)
    wanted = {name: value.shape for name, value in device.get(graph.accumulators()).items()}
    local = not (addresses.is_remote(path) or report.reinitialised)
    old = fluid.read(path, wanted) if local else None
    if old is None:
        log.warning("--resume '%s' holds weights only: starting a fine-tune at epoch 0 with a new optimizer", path)
        return None, report
    device.set(old.accumulators)
    log.info(
        "'%s' is a checkpoint of the old zoo: took %d of %d tensors of the optimizer, and epoch %d %s",
        path,
        len(old.accumulators),
        len(wanted),
        old.epoch or 0,
        "because its name has no epoch" if old.epoch is None else "from its name",
    )
    return Resumed(path, {"epoch": old.epoch or 0, "batch": 0, "best": None, "history": []}, {}), report


def _warn_missing(prefix, wanted, missing):
    if not missing:
        return
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    log.warning(
        "the continuation is not exact: '%s.pdopt' lacks %d of %d tensors of the optimizer, which start anew: %s",
        prefix,
        len(missing),
        len(wanted),
        shown,
    )
