"""Checkpoints at addresses, switched by a single upload as those on this machine are by a single rename.

A save puts parameters and optimizer state under `.<name>.<token>/`, then the JSON under its name. From that upload on
the new checkpoint is the one that is read: its JSON holds the token, by which its other files are found until they are
copied to their names too. Whenever the process dies or the connection fails, the old or the new checkpoint is whole.
"""

import re
from collections.abc import Callable

from engine.checkpoints import seal
from engine.checkpoints.parts import ENDINGS, FILES
from storage import addresses
from utils.errors import CheckpointError, ObjectError, RemoteError

__all__ = ["places", "put_json", "remove", "settle", "switch"]


def _at(prefix, ending):
    return addresses.join(f"{prefix}{ending}")


def _part(prefix, token, ending):
    name = str(prefix).rpartition("/")[2]
    return addresses.join(addresses.parent(prefix), f".{name}.{token}", f"{name}{ending}")


def switch(prefix: str, token: str, put: Callable[[str, str], object], text: bytes, consolation: str = "") -> None:
    """Make a checkpoint of the files that `put(ending, address)` puts at addresses, and of the JSON `text`.

    Raises CheckpointError, with `consolation`, where the earlier checkpoint of that name is still the one that is read.
    """
    try:
        for ending in FILES:
            put(ending, _part(prefix, token, ending))
        put_json(prefix, text)
    except (ObjectError, RemoteError, OSError) as error:
        raise CheckpointError(
            f"checkpoint '{prefix}' was not written: {error}; an earlier checkpoint of that name is intact{consolation}"
        ) from error
    try:
        _finish(prefix, token)
    except (ObjectError, RemoteError) as error:
        raise CheckpointError(
            f"checkpoint '{prefix}' is written and whole, but files of it are still in "
            f"'{addresses.parent(_part(prefix, token, ''))}' ({error}); --resume and --weights find them there"
        ) from error


def put_json(prefix: str, text: bytes) -> None:
    """Upload the JSON of a checkpoint. Raises OSError, ObjectError, RemoteError."""
    staged = addresses.staging(_at(prefix, ".json"))
    staged.parent.mkdir(parents=True, exist_ok=True)
    staged.write_bytes(text)
    addresses.publish(staged, _at(prefix, ".json"))
    staged.unlink()


def _finish(prefix, token):
    for ending in FILES:
        if addresses.exists(_part(prefix, token, ending)):
            addresses.copy(_part(prefix, token, ending), _at(prefix, ending))
    for ending in FILES:
        addresses.remove(_part(prefix, token, ending))


def places(prefix: str, ending: str, state: dict) -> list[str]:
    """Where a file of a checkpoint may be: at its name, else where its writer left it."""
    found = [_at(prefix, ending)]
    if "save" in state:
        found.append(_part(prefix, state["save"].rpartition("/")[2], ending))
    return [address for address in found if addresses.exists(address)]


def remove(prefix: str) -> None:
    """Remove a checkpoint, its JSON first: without it the rest is none. Raises ObjectError, RemoteError."""
    for ending in reversed(ENDINGS):
        addresses.remove(_at(prefix, ending))


def settle(folder: str, model: str) -> None:
    """Finish or remove what a writer that died left of this model's checkpoints.

    Only for the one writer of the folder. Raises CheckpointError.
    """
    name = rf"{re.escape(model)}_(?:epoch\d+|latest|best)"
    try:
        found = {
            match.groups()
            for address in (addresses.files(folder) if addresses.exists(folder) else [])
            if (match := re.search(rf"/\.({name})\.([0-9a-f]{{16}})/[^/]+$", address))
        }
        for stem, token in sorted(found):
            prefix = addresses.join(folder, stem)
            if _token(prefix) == token:
                _finish(prefix, token)
            for ending in FILES:
                addresses.remove(_part(prefix, token, ending))
    except (ObjectError, RemoteError) as error:
        raise CheckpointError(f"what an earlier training left in '{folder}' cannot be cleared: {error}") from error


def _token(prefix):
    if not addresses.exists(_at(prefix, ".json")):
        return None
    with addresses.reading(_at(prefix, ".json")) as file:
        state = seal.parse(file.read_bytes(), prefix)
    return None if state is None else state.get("save")
