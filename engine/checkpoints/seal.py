"""The JSON of a checkpoint: its content, its checksums, and the check of both.

Format 2: {"format", what Trainer.state returns, "save": names the folder that its files were written in, "crc32": of
the files by ending, "seal": crc32 of the text before it}. Format 1, of earlier versions, has neither "save" nor
"seal".
"""

import json
import zlib
from pathlib import Path

from storage.files import parse_json
from utils.errors import CheckpointError, ConfigError

__all__ = ["changes", "parse", "require_savable", "same", "text_of"]

FORMAT = 2
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
SEAL = b',\n  "seal": '
OF_THE_FILES = ("format", "save", "crc32", "seal")  # keys that do not come from the training


def text_of(state: dict, save: str, sums: dict[str, int]) -> bytes:
    """The JSON of a checkpoint; `save` and `sums` as in this file's first lines."""
    content = {key: value for key, value in state.items() if key not in OF_THE_FILES}
    content = {"format": FORMAT, **content, "save": save, "crc32": sums}
    start = json.dumps(content, indent=2, ensure_ascii=False).encode().removesuffix(b"\n}")
    return b"%s%s%d\n}" % (start, SEAL, zlib.crc32(start))


def same(found: dict, state: dict, save: str, sums: dict[str, int]) -> bool:
    """Whether a JSON that was read says what `text_of(state, save, sums)` would."""
    one, other = ({key: value for key, value in each.items() if key not in OF_THE_FILES} for each in (found, state))
    return found.get("save") == save and found["crc32"] == sums and one == other


def _sealed(data):
    """Whether the JSON text `data` is what `text_of` wrote."""
    start, _, end = data.rpartition(SEAL)
    return end == b"%d\n}" % zlib.crc32(start)


def require_savable(state: dict) -> None:
    """Raise ConfigError for a state that JSON cannot hold, before hours of training that could not be saved."""
    try:
        json.dumps(state, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"'{ascii(error.object[max(0, error.start - 60) : error.end + 20])}' holds a byte that is not UTF-8, which "
            "a checkpoint cannot hold; rename that file or class"
        ) from error


def parse(data: bytes, path: str | Path) -> dict | None:
    """The state in the JSON at `path`, None if it is not of a checkpoint.

    Raises CheckpointError where it was altered.
    """
    try:
        state = parse_json(data.decode())
    except ValueError as error:
        raise CheckpointError(f"checkpoint '{path}' cannot be read: {error}") from error
    if not isinstance(state, dict):
        return None
    if "seal" in state and not _sealed(data):
        raise CheckpointError(
            f"checkpoint '{path}' is damaged or was edited: its content does not fit its checksum; take another "
            "checkpoint"
        )
    if "format" not in state:
        if len(STATE.keys() & state.keys()) > len(STATE) // 2:
            raise CheckpointError(_altered(path, "format"))
        return None  # Paddle writes programs as JSON beside parameters
    if state["format"] not in (1, FORMAT):
        raise CheckpointError(
            f"checkpoint '{path}' has format '{state['format']}', this zoo reads '1' and '{FORMAT}'; update it, or go "
            f"on from the .pdparams alone without that file"
        )
    wanted = STATE if state["format"] == 1 else {**STATE, "save": str, "seal": int}
    for key, kind in wanted.items():
        if not (isinstance(state.get(key), kind) and (key in state) and _possible(key, state[key])):
            raise CheckpointError(_altered(path, key))
    return state


def _altered(path, key):
    return (
        f"checkpoint '{path}': '{key}' is missing or has an invalid value; take another checkpoint, or go on "
        "from the .pdparams alone without that file"
    )


def _possible(key, value):
    """Whether a value of the right type can be one that was written."""
    if key == "best":
        return value is None or (
            isinstance(value.get("value"), int | float)
            and isinstance(value.get("key"), str)
            and isinstance(value.get("epoch"), int)
        )
    if key == "history":
        return all(isinstance(row, dict) and isinstance(row.get("epoch"), int) for row in value)
    if key == "config":
        return all(isinstance(section, dict) for section in value.values())
    return 0 <= value <= MOST.get(key, value) if isinstance(value, int) else True


def changes(state: dict, config: dict, steps_per_epoch: int) -> list[str]:
    """What differs between a checkpoint and a run that makes a continuation inexact, as "key old -> new"."""
    before = state["config"]
    changed = [
        f"{section}.{key} {before[section][key]} -> {value}"
        for section in ("MODEL", "TRAIN")
        for key, value in config[section].items()
        if key in before.get(section, {}) and before[section][key] != value
    ]
    if state["steps_per_epoch"] != steps_per_epoch:
        changed.append(f"steps per epoch {state['steps_per_epoch']} -> {steps_per_epoch}")
    return changed
