"""Checkpoints: `<prefix>.pdparams` + `.pdopt` (name -> array) and `<prefix>.json` (where training stood).

Each file is written beside its target as `.new`, then renamed, the JSON last; the JSON holds the checksums of the other
two. Whenever the process dies, either the old or the new checkpoint is whole, and `load` finishes an interrupted rename.

A prefix may be an address. The checkpoint is then written in the cache's folder `outgoing` and uploaded; the JSON of an older one
of that name is removed first and the new one comes last, so that what is there is whole or is no checkpoint.
"""

import contextlib
import errno
import json
import logging
import os
import pickle
import shutil
import zlib
from pathlib import Path

from engine.weights import released
from storage import addresses
from storage.files import parse_json
from utils.errors import CheckpointError, DataError, ObjectError, RemoteError
from utils.pickles.safe import load as unpickle

log = logging.getLogger("zoo")

FILES = (".pdparams", ".pdopt")
MINDSPORES_BEST = "best_acc.ckpt"  # what documents of MindSpore's StNet call the best checkpoint
ENDINGS = (*FILES, ".json")
FORMAT = 1
MOST = {"epoch": 10**6, "batch": 10**9, "steps_per_epoch": 10**9}
STATE = {
    "epoch": int,
    "batch": int,
    "seed": int,
    "steps_per_epoch": int,
    "best": dict | None,
    "history": list,
    "class_names": list,
    "config": dict,
    "crc32": dict,
}


def save(prefix, parameters, accumulators, state):
    """Write a checkpoint. parameters, accumulators: {name: array}; state: what JSON can hold, with the keys of `STATE` and a
    `format`. Raises CheckpointError."""
    if addresses.is_remote(prefix):
        staged = addresses.staging(prefix)
        save(staged, parameters, accumulators, state)
        _replace(
            prefix,
            lambda ending: addresses.publish(_at(staged, ending), _at(prefix, ending)),
            f"; the whole checkpoint is kept on this machine: --resume '{staged}'",
        )
        remove(staged)
        return
    prefix = Path(prefix)
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        sums = {
            ending: _write(_new(prefix, ending), pickle.dumps(content, protocol=4))
            for ending, content in zip(FILES, (parameters, accumulators), strict=True)
        }
        text = json.dumps({"format": FORMAT, **state, "crc32": sums}, indent=2, ensure_ascii=False)
        _write(_new(prefix, ".json"), text.encode())
        _finish(prefix)
    except OSError as error:
        for ending in ENDINGS:
            with contextlib.suppress(OSError):
                _new(prefix, ending).unlink(missing_ok=True)
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise CheckpointError(
            f"checkpoint '{prefix}' was not written: {reason}; an earlier checkpoint of that name is intact"
        ) from error


def rewrite(prefix, state):
    """Give a checkpoint another state, with the parameters it has. Raises CheckpointError."""
    sums = state_of(prefix)["crc32"]
    text = json.dumps({"format": FORMAT, **state, "crc32": sums}, indent=2, ensure_ascii=False)
    if addresses.is_remote(prefix):
        staged = Path(f"{addresses.staging(prefix)}.json")
        staged.parent.mkdir(parents=True, exist_ok=True)
        _write(staged, text.encode())
        addresses.publish(staged, _at(prefix, ".json"))
        staged.unlink()
        return
    _write(_new(Path(prefix), ".json"), text.encode())
    os.replace(_new(Path(prefix), ".json"), _at(prefix, ".json"))


def link(source, prefix, state=None):
    """Give the checkpoint `source` a second name, at no cost of disk where the file system has hard links. Raises CheckpointError
    for an address."""
    if addresses.is_remote(prefix):
        _replace(
            prefix, lambda ending: addresses.copy(_at(source, ending), _at(prefix, ending)), f"; '{source}' is whole"
        )
        if state:
            rewrite(prefix, state)
        return
    for ending in ENDINGS:
        target = _new(Path(prefix), ending)
        target.unlink(missing_ok=True)
        try:
            os.link(_at(source, ending), target)
        except OSError:  # no hard links here (FAT, some network file systems): a copy does as well
            shutil.copyfile(_at(source, ending), target)
    if state:
        target = _new(Path(prefix), ".json")
        target.unlink()
        _write(
            target,
            json.dumps(
                {"format": FORMAT, **state, "crc32": state_of(source)["crc32"]}, indent=2, ensure_ascii=False
            ).encode(),
        )
    _finish(Path(prefix))


def _replace(prefix, make, consolation):
    """Make the three files at an address."""
    try:
        addresses.remove(_at(prefix, ".json"))
        for ending in ENDINGS:
            make(ending)
    except (ObjectError, RemoteError) as error:
        raise CheckpointError(f"checkpoint '{prefix}' was not written: {error}{consolation}") from error


def remove(prefix):
    """Remove a checkpoint, the JSON first: without it the rest is none. Raises CheckpointError for an address."""
    for ending in reversed(ENDINGS):
        if not addresses.is_remote(prefix):
            _at(prefix, ending).unlink(missing_ok=True)
            continue
        try:
            addresses.remove(_at(prefix, ending))
        except (ObjectError, RemoteError) as error:
            raise CheckpointError(f"checkpoint '{prefix}' was not removed: {error}") from error


def resolve(path, model):
    """The prefix that any spelling means: prefix, one of its files, a folder of checkpoints (its latest), or an address of these.

    Without a `model`, a folder on this machine may hold those of one only. Raises CheckpointError where it holds others'."""
    if not addresses.in_bucket(path):
        path = released.fetch(path)
    if isinstance(path, Path) and path.is_dir():
        model = _owner(path, model)
    latest = addresses.join(path, f"{model}_latest")
    if (addresses.is_remote(path) or path.is_dir()) and addresses.exists(_at(latest, ".json")):
        return latest
    path = addresses.join(path)
    if Path(str(path)).name == MINDSPORES_BEST and not addresses.exists(path):
        folder = addresses.parent(path)
        owner = _owner(folder, model) if isinstance(folder, Path) else model
        best = addresses.join(folder, f"{owner}_best")
        if addresses.exists(_at(best, ".json")):
            log.info("'%s' does not exist; using '%s'", path, best)
            return best
    return addresses.join(str(path)[: -len(addresses.suffix(path))]) if addresses.suffix(path) in ENDINGS else path


def _owner(folder, model):
    """The model whose checkpoints a folder holds: `model`, or, where none is said, the only one."""
    owners = sorted(path.name.removesuffix("_latest.json") for path in folder.glob("*_latest.json"))
    if model in owners or not owners:
        return model
    if len(owners) == 1 and not model:
        return owners[0]
    raise CheckpointError(
        f"'{folder}' holds checkpoints of {' and '.join(owners)}{f', none of {model}' if model else ''}; name one, "
        f"such as '{folder / f'{owners[0]}_latest'}'"
    )


def state_of(prefix):
    """The JSON of a checkpoint, or None where there is none (released weights, say)."""
    path = _at(prefix, ".json")
    if not addresses.is_remote(prefix) and _new(prefix, ".json").exists():
        _recover(Path(prefix))
    if not addresses.exists(path) or (not addresses.is_remote(path) and not path.is_file()):
        return None
    try:
        with addresses.reading(path) as file:
            state = parse_json(file.read_text(encoding="utf-8"))
    except (ObjectError, OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{path}' cannot be read: {error}") from error
    if not isinstance(state, dict) or "format" not in state:  # Paddle writes programs as JSON beside parameters
        return None
    if state["format"] != FORMAT:
        raise CheckpointError(
            f"checkpoint '{path}' has format '{state['format']}', this zoo reads '{FORMAT}'; update it, or go on from "
            f"'{prefix}.pdparams' alone without that file"
        )
    for key, kind in STATE.items():
        if not (isinstance(state.get(key), kind) and _possible(key, state[key])):
            raise CheckpointError(
                f"checkpoint '{path}': '{key}' is missing or not what was written there; resume from another "
                f"checkpoint, or go on from '{prefix}.pdparams' alone without that file"
            )
    return state


def _possible(key, value):
    """Whether a value of the right type can be one that was written."""
    if key == "best":
        return value is None or isinstance(value.get("value"), int | float)
    if key == "config":
        return all(isinstance(section, dict) for section in value.values())
    return 0 <= value <= MOST.get(key, value) if isinstance(value, int) else True


def load(prefix):
    """(parameters, accumulators, state) of a whole checkpoint. Raises CheckpointError, naming what is damaged."""
    state = state_of(prefix)
    if state is None:
        raise CheckpointError(f"'{prefix}' is not a checkpoint: '{prefix}.json' is missing or not one of a checkpoint")
    contents = []
    for ending in FILES:
        path = _at(prefix, ending)
        try:
            with addresses.reading(path) as file:
                data = file.read_bytes()
        except (ObjectError, OSError) as error:
            raise CheckpointError(f"checkpoint file '{path}' cannot be read: {error}") from error
        if zlib.crc32(data) != state["crc32"].get(ending):
            raise CheckpointError(
                f"checkpoint file '{path}' is damaged: its checksum is not the one in '{prefix}.json'; "
                "resume from an earlier checkpoint"
            )
        try:
            contents.append(unpickle(data, what=str(path)))
        except DataError as error:
            raise CheckpointError(f"checkpoint file '{path}' cannot be read: {error}") from error
    return (*contents, state)


def changes(state, config, steps_per_epoch):
    """What differs between the state of a checkpoint and a run, as "key old -> new", that makes a continuation inexact."""
    before = state["config"]
    changed = [
        f"{section}.{key} {before[section][key]} -> {value}"
        for section in ("MODEL", "TRAIN")
        for key, value in config[section].items()
        if key in before[section] and before[section][key] != value
    ]
    if state["steps_per_epoch"] != steps_per_epoch:
        changed.append(f"steps per epoch {state['steps_per_epoch']} -> {steps_per_epoch}")
    return changed


def _at(prefix, ending):
    return addresses.join(f"{prefix}{ending}")


def _new(prefix, ending):
    return Path(f"{prefix}{ending}.new")


def _write(path, data):
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return zlib.crc32(data)


def _finish(prefix):
    for ending in ENDINGS:
        os.replace(_new(prefix, ending), _at(prefix, ending))


def _recover(prefix):
    """Complete the renames of a checkpoint whose `.json.new` agrees with the files beside it; otherwise drop its leftovers."""
    try:
        sums = parse_json(_new(prefix, ".json").read_text(encoding="utf-8"))["crc32"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for ending in FILES:
        for path in (_new(prefix, ending), _at(prefix, ending)):
            if path.is_file() and zlib.crc32(path.read_bytes()) == sums[ending]:
                break
        else:
            return
    for ending in ENDINGS:
        if _new(prefix, ending).exists():
            os.replace(_new(prefix, ending), _at(prefix, ending))
