"""s3 and gs, on fsspec.

Retries of its backends are switched off, because storage/transfer.py retries.
"""

import functools
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.remote import limits
from storage.remote.limits import Facts
from utils.errors import ConfigError, ObjectError, RemoteError

__all__ = ["BACKENDS", "copy", "facts", "filesystem", "get", "put", "remove", "under"]

BACKENDS = {"s3": "s3fs", "gs": "gcsfs"}  # the package that fsspec needs for a scheme
OPTIONS = {"s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}}
BLOCK = 4 << 20  # bytes asked for at once
SMALL = 1 << 16  # bytes, about, of an answer about an object
UNUSABLE = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "ParamValidationError",
    "InvalidRegionError",
)


@functools.cache
def filesystem(name: str) -> Any:
    """fsspec's file system of a scheme. One serves all threads: it works in a thread of its own. Raises ConfigError."""
    wanted = [package for package in ("fsspec", BACKENDS[name]) if importlib.util.find_spec(package) is None]
    if wanted:
        command = 'pip install -e ".[remote]"' if name == "s3" else f"pip install {' '.join(wanted)}"
        raise ConfigError(
            f"addresses that start with {name}:// need the package {wanted[0]}, which is not installed: {command}"
        )
    import fsspec

    own = fsspec.config.conf.get(name, {})  # the user's, from files and the environment
    options = {key: {**own.get(key, {}), **value} for key, value in OPTIONS.get(name, {}).items()}
    system = fsspec.filesystem(name, use_listings_cache=False, skip_instance_cache=True, **options)
    system.retries = 1
    return system


def facts(address: str) -> Facts:
    """The Facts of an object. Raises ObjectError, RemoteError, or ConnectionError where another try may help."""
    info = _ask(address, "fetched", "_info", address)
    version = limits.digest(sorted((key, str(value)) for key, value in info.items()))
    return Facts(info["type"] == "directory", info["size"], version)


def get(address: str, part: Path, size: int) -> None:
    """Append to the file `part` what it lacks of an object of `size` bytes.

    Raises as `facts`, or OSError of the disk.
    """
    limits.check_size(address, size)
    done = part.stat().st_size if part.exists() else 0
    with limits.open_part(part, append=done > 0) as file, limits.bar(part, done, size) as bar:
        while done < size:
            end = min(done + BLOCK, size)
            data = _ask(address, "fetched", "_cat_file", address, size=end - done, start=done, end=end)
            if not data:
                raise ConnectionError(f"it ended after {done} of {size} bytes")
            file.write(data)
            done += len(data)
            bar.update(len(data))


def put(file: str | Path, address: str) -> None:
    """Upload a local file; the object appears when it is whole. Raises as `facts`."""
    _ask(address, "written", "_put_file", str(file), address, size=os.path.getsize(file))


def copy(source: str, address: str) -> None:
    """Copy an object within the server. Raises as `facts`."""
    _ask(address, "written", "_cp_file", source, address, size=limits.setting("ZOO_REMOTE_MAX_GB", 20.0, 0) * 1e6)


def remove(address: str) -> None:
    """Remove an object, if it is there. Raises as `facts`."""
    try:
        _ask(address, "removed", "_rm_file", address)
    except ObjectError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise


def under(address: str) -> list[str]:
    """Addresses of the objects in a folder, at any depth, sorted. Raises as `facts`."""
    scheme = address.partition("://")[0].lower()
    return sorted(f"{scheme}://{path}" for path in _ask(address, "fetched", "_find", address, size=10**6))


def _ask(address: str, done: str, method: str, *arguments: Any, size: float = SMALL, **named: Any) -> Any:
    """The result of a method of fsspec's file system.

    It may take as long as `size` bytes take at the lowest speed.

    Its backends raise what their libraries raise (botocore, aiohttp, google), and much of it is no OSError. `done` is
    what was to be done with the object, for messages.
    """
    system = _system(address)
    import fsspec.asyn

    seconds = limits.period() + size / max(limits.floor(), 1.0)
    call: Callable = getattr(system, method)
    try:
        return fsspec.asyn.sync(system.loop, call, *arguments, timeout=seconds, **named)
    except Exception as error:
        raise _translated(address, done, error, seconds) from error


def _system(address):
    name = address.partition("://")[0].lower()
    if name not in BACKENDS:
        raise ConfigError(
            f"'{address}' cannot be written: only s3:// and gs:// addresses and local paths can; give one of these"
        )
    return filesystem(name)


def _translated(address, done, error, seconds):
    """The error to raise: ObjectError if the object was refused, RemoteError if the credentials are unusable.

    Any other is a ConnectionError or TimeoutError, which may be retried.
    """
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return ObjectError(address, f"cannot be {done} (no such object); check the address")
    if isinstance(error, PermissionError):
        return ObjectError(
            address,
            f"cannot be {done} (access denied: {error}); check its name, and the credentials in the environment",
        )
    if type(error).__name__ in UNUSABLE:
        return RemoteError(
            f"'{address}' cannot be {done} ({error}); set up the credentials as the storage's own tools want "
            "them, for s3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws, and AWS_ENDPOINT_URL for a server "
            "other than Amazon's"
        )
    if type(error).__name__ == "FSTimeoutError":
        return TimeoutError(f"no answer within {seconds:.0f} s (ZOO_REMOTE_MIN_KBS)")
    return ConnectionError(f"{error}" or type(error).__name__)
