"""Objects by address, into a file and back, with patience: http(s) on urllib, s3 and gs on fsspec.

http(s) is written on urllib (which honours http_proxy and its like): what matters here is that a dropped connection goes on
where it stopped, over several tries and several runs. pooch, requests and urllib3 leave that to the caller, and without it
only a GET remains. fsspec's backends try again by rules of their own; they are told not to, so that one count and one delay
hold for all:
    ZOO_REMOTE_TRIES    times that one object is asked for before it is given up (5)
    ZOO_REMOTE_DELAY    seconds before the second try, doubled each time (1)
ObjectError: the other side says no. RemoteError: it says nothing, or not to anybody.
"""

import functools
import hashlib
import http.client
import importlib.util
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import NamedTuple

from tqdm import tqdm

from utils.errors import ConfigError, ObjectError, RemoteError

log = logging.getLogger("zoo")

TRIES, DELAY, TIMEOUT = 5, 1.0, 15.0  # TIMEOUT: seconds without an answer; all tries take less than sample_timeout
BACKENDS = {"s3": "s3fs", "gs": "gcsfs"}  # the package that fsspec needs for a scheme
OPTIONS = {"s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}}
_CHUNK, _BLOCK, _LARGE = (
    1 << 18,
    16 << 20,
    16 << 20,
)  # bytes: of a read, of a range asked for, from which a bar is shown
_TRANSIENT = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
_UNUSABLE = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "ParamValidationError",
    "InvalidRegionError",
)


class Facts(NamedTuple):
    """What the other side says about an address. `version` changes with the content; "" where it does not tell."""

    folder: bool
    size: int | None
    version: str


def setting(name, default, smallest):
    """A number from the environment. Raises ConfigError."""
    text = os.environ.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"\d{1,12}(\.\d{1,12})?", text) or float(text) < smallest:
        raise ConfigError(f"environment variable {name} '{text}': expected a number of at least {smallest}")
    return type(default)(float(text))


def scheme(address):
    """The scheme of an address that can be fetched. Raises ConfigError."""
    found = str(address).partition("://")[0].lower()
    if found not in ("http", "https", *BACKENDS):
        raise ConfigError(
            f"'{address}': addresses start with https://, http://, s3:// or gs://; give one of these, or a path"
        )
    return found


def facts(address):
    """The Facts of an address. Raises ObjectError, RemoteError."""
    if scheme(address) in BACKENDS:
        return patiently(address, "fetched", lambda: _object_facts(address))
    return patiently(address, "fetched", lambda: _http_facts(address))


def get(address, part, size=None):
    """Append to the file `part` what it lacks of the object, which has `size` bytes. Raises ObjectError, RemoteError, or OSError for
    the disk's own troubles."""
    if scheme(address) in BACKENDS:
        patiently(address, "fetched", lambda: _get_object(address, part, size))
    else:
        patiently(address, "fetched", lambda: _get_http(address, part))


def put(file, address):
    """Upload a local file; the object appears when it is whole. Raises ObjectError, RemoteError."""
    patiently(address, "written", lambda: _ask(address, "written", _system(address).put_file, str(file), address))


def copy(source, address):
    """Copy an object on the other side. Raises ObjectError, RemoteError."""
    patiently(address, "written", lambda: _ask(address, "written", _system(address).cp_file, source, address))


def remove(address):
    """Remove an object, if it is there. Raises ObjectError, RemoteError."""

    def action():
        try:
            _system(address).rm_file(address)
        except FileNotFoundError:
            return
        except Exception as error:
            raise _translated(address, "removed", error) from error

    patiently(address, "removed", action)


def under(address):
    """Addresses of the objects in a folder, at any depth, sorted. Raises ObjectError, RemoteError."""
    system = _system(address)
    found = patiently(address, "fetched", lambda: _ask(address, "fetched", system.find, address))
    return sorted(f"{scheme(address)}://{path}" for path in found)


def patiently(address, done, action):
    """`action()`, again after a while when the connection fails; `done` is what was to be with the object, for messages."""
    tries, delay = setting("ZOO_REMOTE_TRIES", TRIES, 1), setting("ZOO_REMOTE_DELAY", DELAY, 0)
    for number in range(1, tries + 1):
        try:
            return action()
        except _TRANSIENT as error:
            code = f"HTTP {error.code}, " if isinstance(error, urllib.error.HTTPError) else ""
            reason = f"{code}{getattr(error, 'reason', None) or error}"
            if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429):
                raise ObjectError(address, f"cannot be {done} ({reason})") from error
            if number == tries:
                raise RemoteError(
                    f"'{address}' cannot be {done} ({reason}) after {tries} tries; check the network and the address "
                    "(ZOO_REMOTE_TRIES and ZOO_REMOTE_DELAY set the patience)"
                ) from error
            log.warning("'%s': %s; trying again, %d of %d", address, reason, number + 1, tries)
            time.sleep(delay * 2 ** (number - 1))


# ---- http(s)


def _http_facts(address):
    """Of a server that does not answer HEAD (or whose signed addresses are for GET only) nothing is known."""
    try:
        with _open_http(urllib.request.Request(address, method="HEAD")) as response:
            length = response.headers.get("Content-Length")
            marks = [response.headers.get(name, "") for name in ("ETag", "Last-Modified", "Content-Length")]
    except urllib.error.HTTPError as error:
        if error.code in (404, 410, 500, 502, 503, 504, 408, 429):
            raise
        return Facts(False, None, "")
    return Facts(False, int(length) if length and length.isdigit() else None, _digest(marks) if any(marks[:2]) else "")


def _open_http(request):
    return urllib.request.build_opener().open(request, timeout=TIMEOUT)  # built anew: the proxies of this moment


def _get_http(address, part):
    """Raises ConnectionError when the connection ends before the file does."""
    done = part.stat().st_size if part.exists() else 0
    try:
        response = _open_http(urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {}))
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink(missing_ok=True)  # it is not the beginning of what is there now
        raise ConnectionError(error.reason) from error
    with response:
        if response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            mode = "ab"
        else:  # the server sends the whole file again
            mode, done = "wb", 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        with open(part, mode) as file, _bar(part, done, total) as bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                bar.update(len(chunk))
    if total is not None and done != total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _bar(part, done, total):
    silent = total is not None and total < _LARGE  # clips by the thousand
    return tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=part.stem, disable=silent or None)


# ---- s3 and gs


@functools.cache
def _filesystem(name):
    """fsspec's file system of a scheme. One serves all threads: its work is done in a thread of its own. Raises ConfigError."""
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


def _system(address):
    name = scheme(address)
    if name not in BACKENDS:
        raise ConfigError(
            f"'{address}' cannot be written: only s3:// and gs:// addresses and local paths can; give one of these"
        )
    return _filesystem(name)


def _object_facts(address):
    info = _ask(address, "fetched", _system(address).info, address)
    return Facts(
        info["type"] == "directory", info["size"], _digest(sorted((key, str(value)) for key, value in info.items()))
    )


def _get_object(address, part, size):
    system, done = _system(address), part.stat().st_size if part.exists() else 0
    with open(part, "ab") as file, _bar(part, done, size) as bar:
        while done < size:
            data = _ask(address, "fetched", system.cat_file, address, start=done, end=min(done + _BLOCK, size))
            if not data:
                raise ConnectionError(f"it ended after {done} of {size} bytes")
            file.write(data)
            done += len(data)
            bar.update(len(data))


def _ask(address, done, function, *arguments, **named):
    """Call fsspec, whose backends raise what their libraries raise (botocore, aiohttp, google), and much of it no OSError."""
    try:
        return function(*arguments, **named)
    except Exception as error:
        raise _translated(address, done, error) from error


def _translated(address, done, error):
    """ObjectError where the other side says no, RemoteError where nobody can be asked, else ConnectionError: worth another try."""
    if isinstance(error, FileNotFoundError | IsADirectoryError):
        return ObjectError(address, f"cannot be {done} (no such object); check the address")
    if isinstance(error, PermissionError):
        return ObjectError(
            address,
            f"cannot be {done} (access denied: {error}); check its name, and the credentials in the environment",
        )
    if type(error).__name__ in _UNUSABLE:
        return RemoteError(
            f"'{address}' cannot be {done} ({error}); set up the credentials as the storage's own tools want them, for s3 "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws, and AWS_ENDPOINT_URL for a server other than Amazon's"
        )
    return ConnectionError(f"{error}" or type(error).__name__)


def _digest(value):
    return hashlib.sha256(str(value).encode()).hexdigest()[:8]
