"""Checkpoints: `<prefix>.pdparams` and `.pdopt` (name -> array), and `<prefix>.json` (where training stood).

The JSON seals all three (engine/checkpoints/seal.py) and is what switches from an old checkpoint to a new one of its
name (engine/checkpoints/parts.py). Whoever reads a checkpoint checks the seal.

A prefix may be an address (engine/checkpoints/remote.py). The checkpoint is then written in the cache's folder
`outgoing` and uploaded.
"""

import contextlib
import errno
import os
import pickle
import secrets
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from engine.checkpoints import parts, remote, seal
from engine.checkpoints.parts import ENDINGS, FILES
from storage import addresses
from storage.files import sync
from utils.errors import CheckpointError, DataError, ObjectError, RemoteError
from utils.pickles.safe import load as unpickle

__all__ = [
    "ENDINGS",
    "link",
    "load",
    "located",
    "parameters",
    "remove",
    "rewrite",
    "save",
    "state_of",
]

READS = 5  # tries to read a checkpoint that its writer replaces meanwhile

Prefix = str | Path
Arrays = dict[str, np.ndarray]


def _at(prefix, ending):
    return addresses.join(f"{prefix}{ending}")


# ---- writing


def save(prefix: Prefix, parameters: Arrays, accumulators: Arrays, state: dict) -> None:
    """Write a checkpoint; `state`: what JSON can hold, with the keys of `seal.STATE`. Raises CheckpointError."""
    if addresses.is_remote(prefix):
        staged = addresses.staging(prefix)
        save(staged, parameters, accumulators, state)
        remote.switch(
            prefix,
            state_of(staged)["save"],
            lambda ending, address: addresses.publish(_at(staged, ending), address),
            _at(staged, ".json").read_bytes(),
            f"; the whole checkpoint is kept on this machine: --resume '{staged}'",
        )
        remove(staged)
        return
    prefix = Path(prefix)

    def make(token, folder):
        sums = {}
        for ending, content in zip(FILES, (parameters, accumulators), strict=True):
            sums[ending] = parts.write(folder / f"{prefix.name}{ending}", pickle.dumps(content, protocol=4))
        parts.write(folder / f"{prefix.name}.json", seal.text_of(state, token, sums))

    _write(prefix, make)


def link(source: Prefix, prefix: Prefix, state: dict | None = None) -> None:
    """Give the checkpoint `source` a second name, with `state` instead of its own if given. Raises CheckpointError.

    Costs no disk where the file system has hard links.
    """
    before = _require_state(source)
    state = state or before
    if addresses.is_remote(prefix):
        token = before.get("save") or secrets.token_hex(8)
        remote.switch(
            prefix,
            token,
            lambda ending, address: addresses.copy(located(source, ending), address),
            seal.text_of(state, token, before["crc32"]),
        )
        return
    prefix = Path(prefix)

    def make(token, folder):
        for ending in FILES:
            _link_or_copy(_located(source, ending, before), folder / f"{prefix.name}{ending}")
        _write_json(folder / f"{prefix.name}.json", state, token, before["crc32"], source)

    _write(prefix, make, before.get("save"))


def _write_json(path, state, token, sums, twin=None):
    """Write the JSON of a checkpoint, as a link to that of `twin` where this says the same: a link costs no fsync."""
    found = None if twin is None else state_of(twin)
    if found and seal.same(found, state, token, sums):
        _link_or_copy(_at(twin, ".json"), path)
    else:
        parts.write(path, seal.text_of(state, token, sums))


def _link_or_copy(source, target):
    try:
        os.link(source, target)
    except OSError:  # no hard links here (FAT, some network file systems)
        shutil.copyfile(source, target)
        sync(target)


def rewrite(prefix: Prefix, state: dict, twin: Prefix | None = None) -> None:
    """Give a checkpoint another state, with the values it has. Raises CheckpointError.

    twin: another name of the same checkpoint, whose JSON is linked if it has that state already
    """
    before = _require_state(prefix)
    token, sums = before.get("save", ""), before["crc32"]
    if not addresses.is_remote(prefix):
        with _explained(prefix), parts.replacing_json(Path(prefix)) as path:
            _write_json(path, state, token, sums, twin)
        return
    try:
        remote.put_json(prefix, seal.text_of(state, token, sums))
    except (OSError, ObjectError, RemoteError) as error:
        raise CheckpointError(f"checkpoint '{prefix}' was not updated: {error}") from error


def _write(prefix, make: Callable[[str, Path], object], token: str | None = None):
    """Let `make(token, folder)` write the files of a checkpoint, then make them those of `prefix`."""
    with _explained(prefix), parts.staged(prefix, token) as (token, folder):
        make(token, folder)
        try:
            parts.move_in(prefix, folder)
        except CheckpointError as error:  # it is whole: its folder stays
            moved = error
        else:
            return
    raise moved


@contextlib.contextmanager
def _explained(prefix):
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise CheckpointError(
            f"checkpoint '{prefix}' was not written: {reason}; an earlier checkpoint of that name is intact"
        ) from error


def remove(prefix: Prefix) -> None:
    """Remove a checkpoint, its JSON first: without it the rest is none. Raises CheckpointError."""
    try:
        if addresses.is_remote(prefix):
            remote.remove(prefix)
            return
        for ending in reversed(ENDINGS):
            _at(prefix, ending).unlink(missing_ok=True)
    except (ObjectError, RemoteError, OSError) as error:
        raise CheckpointError(f"checkpoint '{prefix}' was not removed: {error}") from error


def located(prefix: Prefix, ending: str) -> Prefix:
    """Where a file of a checkpoint is now. Raises CheckpointError."""
    return _located(prefix, ending, _require_state(prefix))


def _places(prefix, ending, state):
    if addresses.is_remote(prefix):
        return remote.places(prefix, ending, state)
    return parts.candidates(Path(prefix), ending, state)


def _located(prefix, ending, state):
    found = _places(prefix, ending, state)
    if not found:
        raise CheckpointError(f"checkpoint file '{_at(prefix, ending)}' is missing; take another checkpoint")
    return found[-1] if "save" in state else found[0]


# ---- reading


def state_of(prefix: Prefix) -> dict | None:
    """The JSON of a checkpoint, or None where there is none (released weights, say). Raises CheckpointError."""
    path = _at(prefix, ".json")
    if not addresses.is_remote(prefix):
        found = parts.leftover(Path(prefix))
        if found:
            return found
        if not path.is_file():
            return None
    elif not addresses.exists(path):
        return None
    try:
        with addresses.reading(path) as file:
            data = file.read_bytes()
    except (ObjectError, OSError) as error:
        raise CheckpointError(f"checkpoint '{path}' cannot be read: {error}") from error
    return seal.parse(data, path)


def _require_state(prefix):
    state = state_of(prefix)
    if state is None:
        raise CheckpointError(f"'{prefix}' is not a checkpoint: '{prefix}.json' is missing or not one of a checkpoint")
    return state


def load(prefix: Prefix) -> tuple[Arrays, Arrays, dict]:
    """(parameters, optimizer state, state) of a whole checkpoint. Raises CheckpointError, naming what is damaged."""
    (values, accumulators), state = _read(prefix, FILES)
    return values, accumulators, state


def parameters(prefix: Prefix) -> Arrays:
    """The parameters of a checkpoint. Raises CheckpointError, naming what is damaged."""
    return _read(prefix, FILES[:1])[0][0]


def _read(prefix, endings: Sequence[str]):
    """([content of each file], state), all of one save, though its writer may replace it meanwhile."""
    for _ in range(READS):
        state = _require_state(prefix)
        try:
            return [_content(prefix, ending, state) for ending in endings], state
        except CheckpointError:
            for ending in ENDINGS:
                addresses.forget(_at(prefix, ending))
            if repr(state_of(prefix)) == repr(state):
                raise
    raise CheckpointError(f"checkpoint '{prefix}' is being replaced continuously; try again")


def _content(prefix, ending, state):
    path = _at(prefix, ending)
    try:
        for place in _places(prefix, ending, state) or [path]:
            with addresses.reading(place) as file:
                data = file.read_bytes()
            if zlib.crc32(data) == state["crc32"].get(ending):
                break
        else:
            raise CheckpointError(
                f"checkpoint file '{path}' is damaged: its checksum is not the one in '{prefix}.json'; take an earlier "
                "checkpoint, or remove that .json if you replaced the file on purpose"
            )
        content = unpickle(data, what=str(path))
    except (ObjectError, OSError, DataError) as error:
        raise CheckpointError(f"checkpoint file '{path}' cannot be read: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(value, np.ndarray) for value in content.values()):
        raise CheckpointError(f"checkpoint file '{path}' holds no dictionary of arrays; take an earlier checkpoint")
    return content
