"""Downloads and uploads of objects by address, with retries.

http(s) is in storage/remote/http.py, s3 and gs in storage/remote/objects.py.

ObjectError: the object was refused. RemoteError: server unreachable or credentials unusable. How often and how long one
object is tried, and how large it may be, is set by the environment (storage/remote/limits.py).
"""

import logging
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from storage.remote import http, objects
from storage.remote.limits import Facts, setting
from utils.errors import ConfigError, ObjectError, RemoteError

__all__ = ["copy", "facts", "get", "put", "remove", "retried", "scheme", "under"]

log = logging.getLogger("zoo")

TRIES, DELAY = 5, 1.0
Result = TypeVar("Result")


def scheme(address: str) -> str:
    """The scheme of an address that can be fetched. Raises ConfigError."""
    found = str(address).partition("://")[0].lower()
    if found not in ("http", "https", *objects.BACKENDS):
        raise ConfigError(
            f"'{address}': addresses start with https://, http://, s3:// or gs://; give one of these, or a path"
        )
    return found


def facts(address: str) -> Facts:
    """The Facts of an address. Raises ObjectError, RemoteError."""
    backend = objects if scheme(address) in objects.BACKENDS else http
    return retried(address, "fetched", lambda: backend.facts(address))


def get(address: str, part: Path, size: int | None = None) -> None:
    """Append to the file `part` what it lacks of the object, which has `size` bytes.

    Raises ObjectError, RemoteError, or OSError where the disk fails.
    """
    backend = objects if scheme(address) in objects.BACKENDS else http
    retried(address, "fetched", lambda: backend.get(address, part, size))


def put(file: str | Path, address: str) -> None:
    """Upload a local file; the object appears when it is whole. Raises ObjectError, RemoteError."""
    retried(address, "written", lambda: objects.put(file, address))


def copy(source: str, address: str) -> None:
    """Copy an object within the server. Raises ObjectError, RemoteError."""
    retried(address, "written", lambda: objects.copy(source, address))


def remove(address: str) -> None:
    """Remove an object, if it is there. Raises ObjectError, RemoteError."""
    retried(address, "removed", lambda: objects.remove(address))


def under(address: str) -> list[str]:
    """Addresses of the objects in a folder, at any depth, sorted. Raises ObjectError, RemoteError."""
    return retried(address, "fetched", lambda: objects.under(address))


def retried(address: str, done: str, action: Callable[[], Result]) -> Result:
    """`action()`, tried again after a while when the connection fails.

    `done` is what was to be done with the object, for messages. Raises ObjectError, RemoteError.
    """
    tries, delay = setting("ZOO_REMOTE_TRIES", TRIES, 1), setting("ZOO_REMOTE_DELAY", DELAY, 0)
    for number in range(1, tries + 1):
        try:
            return action()
        except http.TRANSIENT as error:
            reason = _reason(error)
            if http.is_refusal(error):
                raise ObjectError(address, f"cannot be {done} ({reason})") from error
            if number == tries:
                raise RemoteError(
                    f"'{address}' cannot be {done} ({reason}) after {tries} tries; check the network and the address "
                    "(ZOO_REMOTE_TRIES and ZOO_REMOTE_DELAY set the patience)"
                ) from error
            log.warning("'%s': %s; trying again, %d of %d", address, reason, number + 1, tries)
            time.sleep(delay * 2 ** (number - 1))


def _reason(error):
    """Why a connection failed, in one line."""
    code = f"HTTP {error.code}, " if isinstance(error, urllib.error.HTTPError) else ""
    return code + " ".join(str(getattr(error, "reason", None) or error).split())
