"""Finding the checkpoint that a path means."""

import functools
import logging
import os
import re
from pathlib import Path
from typing import Any

from engine.checkpoints import parts
from engine.checkpoints.files import ENDINGS, state_of
from engine.weights import released
from storage import addresses
from utils.errors import CheckpointError

__all__ = ["of_weights", "resolve", "state_for"]

log = logging.getLogger("zoo")

MINDSPORES_BEST = "best_acc.ckpt"  # what documents of MindSpore's StNet call the best checkpoint


def _json(prefix):
    return addresses.join(f"{prefix}.json")


def resolve(path: str | Path, model: str) -> str | Path:
    """The prefix that any spelling means: prefix, one of its files, a folder of checkpoints (its latest), or an
    address of these.

    Without a `model`, a folder on this machine may hold those of one only. Raises CheckpointError where it holds
    others'.
    """
    if not addresses.in_bucket(path):
        path = released.fetch(path)
    if addresses.is_remote(path):
        latest = addresses.join(path, f"{model}_latest")
        if addresses.exists(_json(latest)):
            return latest
    elif path.is_dir():
        latest = _latest_in(path, _owner(path, model))
        if latest:
            return latest
    path = addresses.join(path)
    if Path(str(path)).name == MINDSPORES_BEST and not addresses.exists(path):
        folder = addresses.parent(path)
        owner = _owner(folder, model) if isinstance(folder, Path) else model
        best = addresses.join(folder, f"{owner}_best")
        if addresses.exists(_json(best)):
            _say_once(path, best)
            return best
    return addresses.join(str(path)[: -len(addresses.suffix(path))]) if addresses.suffix(path) in ENDINGS else path


@functools.cache
def _say_once(path, best):
    log.info("'%s' does not exist; using '%s'", path, best)


def _latest_in(folder, model):
    """`_latest`, or the last epoch where the first `_latest` was never finished, or None."""
    latest = folder / f"{model}_latest"
    if _json(latest).is_file() or parts.leftover(latest):
        return latest
    pattern = re.compile(rf"{re.escape(model)}_epoch(\d+)\.json")
    epochs = [int(found[1]) for found in map(pattern.fullmatch, os.listdir(folder)) if found]
    last = folder / f"{model}_epoch{max(epochs, default=0)}"
    return last if state_of(last) else None


def _owner(folder, model):
    """The model whose checkpoints a folder holds: `model`, or, where none is given, the only one."""
    owners = sorted(path.name.removesuffix("_latest.json") for path in folder.glob("*_latest.json"))
    if model in owners or not owners:
        return model
    if len(owners) == 1 and not model:
        return owners[0]
    others = f", none of {model}" if model else ""
    raise CheckpointError(
        f"'{folder}' holds checkpoints of {' and '.join(owners)}{others}; name one, such as "
        f"'{folder / f'{owners[0]}_latest'}'"
    )


def state_for(source: Any, model: str) -> dict[str, Any]:
    """The state of the checkpoint of ours that weights mean; {} where they are something else, or arrays."""
    return state_of(resolve(source, model)) or {} if isinstance(source, str | Path) else {}


def of_weights(source: Any, model: str) -> str | Path | None:
    """The prefix of the checkpoint of ours that a path or address of weights means, or None."""
    prefix = resolve(source, model)
    return prefix if state_of(prefix) else None
