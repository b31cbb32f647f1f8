"""Limits on the size and duration of transfers, and the environment variables that set them.

ZOO_REMOTE_TRIES    times that an object is asked for before it is given up (5)
ZOO_REMOTE_DELAY    seconds before the second try, doubled each time (1)
ZOO_REMOTE_MIN_KBS  kilobytes a second below which a connection is given up (1)
ZOO_REMOTE_HOURS    hours that one connection may last (12)
ZOO_REMOTE_MAX_GB   gigabytes that one object may have (20)
"""

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from utils.errors import ConfigError, ObjectError

__all__ = ["Facts", "bar", "check_size", "digest", "floor", "longest", "open_part", "period", "setting"]

LARGE = 16 << 20  # bytes from which a bar is shown


class Facts(NamedTuple):
    """What a server says about an address. `version` changes with the content; "" where the server does not tell."""

    folder: bool
    size: int | None
    version: str


def setting(name: str, default: int | float, smallest: int | float) -> int | float:
    """A number from the environment, of the type of `default`. Raises ConfigError."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"\d{1,12}(\.\d{1,12})?", text) or float(text) < smallest:
        raise ConfigError(f"environment variable {name} '{text}': expected a number of at least {smallest}")
    return type(default)(float(text))


def period() -> float:
    """Seconds over which the speed of a connection is measured."""
    return setting("ZOO_REMOTE_STALL", 20.0, 0.1)


def floor() -> float:
    """Bytes a second below which a connection is given up."""
    return setting("ZOO_REMOTE_MIN_KBS", 1.0, 0) * 1000


def longest() -> float:
    """Seconds that one connection may last."""
    return setting("ZOO_REMOTE_HOURS", 12.0, 0) * 3600


def check_size(address: str, size: int | None) -> None:
    """Raise ObjectError where an object of `size` bytes is larger than allowed."""
    most = setting("ZOO_REMOTE_MAX_GB", 20.0, 0)
    if size is not None and size > most * 1e9:
        raise ObjectError(
            address,
            f"is larger than {most:g} GB; check the address, or raise the environment variable ZOO_REMOTE_MAX_GB",
        )


def open_part(part: Path, append: bool) -> BinaryIO:
    """A file to receive into, made anew unless `append`; never what a link points to."""
    if not append:
        part.unlink(missing_ok=True)
    return open(part, "ab", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666))


def bar(part: Path, done: int, total: int | None) -> tqdm:
    """A bar of bytes; silent for small files, of which there may be thousands."""
    silent = total is not None and total < LARGE
    return tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=part.stem, disable=silent or None)


def digest(value: object) -> str:
    """A short hash of something's text."""
    return hashlib.sha256(str(value).encode()).hexdigest()[:8]
