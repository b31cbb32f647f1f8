"""The three files of a checkpoint on this machine, switched by a single rename.

A save writes all files into a new folder beside the checkpoint, `.<name>.<token>`, then moves the JSON to its name.
From that rename on the new checkpoint is the one that is read: its JSON names the folder, where its other files are
found until they are moved too. Whenever the process dies or the disk fails, either the old or the new checkpoint is
whole.
Readers only look. Writers, which hold a lock on the folder, finish or remove what a dead one left (`settle`).
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from engine.checkpoints import seal
from utils.errors import CheckpointError

__all__ = ["ENDINGS", "FILES", "candidates", "leftover", "move_in", "replacing_json", "settle", "staged", "write"]

FILES = (".pdparams", ".pdopt")
ENDINGS = (*FILES, ".json")


def _at(prefix, ending):
    return Path(f"{prefix}{ending}")


def _folder(prefix, token):
    return Path(prefix).with_name(f".{Path(prefix).name}.{token}")


@contextlib.contextmanager
def staged(prefix: Path, token: str | None = None) -> Iterator[tuple[str, Path]]:
    """Make the folder of a save: (its token, its path).

    token: that of the save whose files get another name; a new one by default
    It is removed when the block ends with an error. Raises OSError.
    """
    token = token or secrets.token_hex(8)
    folder = _folder(prefix, token)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir()  # fails if it exists, so nothing that another put there is followed
    try:
        yield token, folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def replacing_json(prefix: Path) -> Iterator[Path]:
    """Give the path of a new file, `.<name>.<token>.json`, that becomes the JSON of a checkpoint when the block ends.

    Raises OSError, where nothing has changed.
    """
    path = Path(f"{_folder(prefix, secrets.token_hex(8))}.json")
    try:
        yield path
        os.replace(path, _at(prefix, ".json"))
    finally:
        path.unlink(missing_ok=True)


def write(path: Path, data: bytes) -> int:
    """Write a new file and wait until it is on the disk; returns its crc32.

    Raises OSError, also where the file exists.
    """
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return zlib.crc32(data)


def move_in(prefix: Path, folder: Path) -> None:
    """Make the files in `folder` those of the checkpoint. Raises OSError where nothing has changed; CheckpointError
    where the checkpoint is the new one, but some of its files do not have their names yet.
    """
    name = Path(prefix).name
    os.replace(folder / f"{name}.json", _at(prefix, ".json"))
    try:
        _finish(prefix, folder)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint '{prefix}' is written and whole, but files of it are still in '{folder}' ({error}); --resume "
            "and --weights find them there"
        ) from error


def _finish(prefix, folder):
    for ending in FILES:
        part = folder / f"{Path(prefix).name}{ending}"
        if part.exists():
            os.replace(part, _at(prefix, ending))
    shutil.rmtree(folder)


def candidates(prefix: Path, ending: str, state: dict) -> list[Path]:
    """Where a file of a checkpoint may be: at its name, else where its writer left it."""
    found = [_at(prefix, ending)]
    if "save" in state:
        found.append(_folder(prefix, Path(state["save"]).name) / f"{Path(prefix).name}{ending}")
    else:
        found.append(_at(prefix, f"{ending}.new"))
    return [path for path in found if path.is_file()]


def leftover(prefix: Path) -> dict | None:
    """The state in a `.json.new` left by an earlier version that died between its renames, if its files are there."""
    path = _at(prefix, ".json.new")
    try:
        state = seal.parse(path.read_bytes(), path) if path.is_file() else None
    except (OSError, CheckpointError):
        return None
    if state is None or state["format"] != 1:
        return None
    for ending in FILES:
        wanted = state["crc32"].get(ending)
        if not any(zlib.crc32(path.read_bytes()) == wanted for path in candidates(prefix, ending, state)):
            return None
    return state


def settle(folder: Path, model: str) -> None:
    """Finish or remove what a writer that died left of this model's checkpoints.

    Only for the holder of the folder's lock.
    """
    name = rf"{re.escape(model)}_(?:epoch\d+|latest|best)"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        found = re.fullmatch(rf"\.({name})\.([0-9a-f]{{16}})", path.name)
        if found and path.is_dir() and not path.is_symlink():
            prefix = folder / found[1]
            if _token(prefix) == found[2]:
                _finish(prefix, path)
            else:
                shutil.rmtree(path)
        if re.fullmatch(rf"\.{name}\.[0-9a-f]{{16}}\.json", path.name):
            path.unlink()
        found = re.fullmatch(rf"({name})\.json\.new", path.name)
        if found and leftover(folder / found[1]):
            _finish_old(folder / found[1])
    for path in folder.glob(f"{model}_*.new") if folder.is_dir() else []:
        if re.fullmatch(rf"{name}\.(?:json|pdparams|pdopt)\.new", path.name):
            path.unlink()


def _token(prefix):
    try:
        return json.loads(_at(prefix, ".json").read_bytes())["save"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _finish_old(prefix):
    state = leftover(prefix)
    for ending in FILES:
        new = _at(prefix, f"{ending}.new")
        if new.is_file() and zlib.crc32(new.read_bytes()) == state["crc32"][ending]:
            os.replace(new, _at(prefix, ending))
    os.replace(_at(prefix, ".json.new"), _at(prefix, ".json"))
