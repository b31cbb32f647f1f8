"""Local copies of remote objects, in a folder of bounded size; and downloads to a chosen path.

The folder (ZOO_CACHE, ~/.paddle/remote) holds up to ZOO_CACHE_GB (20) gigabytes, plus files in use. Each run asks
once for each object whether it has changed. Threads and processes that want the same object fetch it once. Least
recently used files are evicted first.
"""

import contextlib
import hashlib
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from storage import transfer
from storage.remote.limits import Facts, setting
from utils.errors import ConfigError, ObjectError

try:
    import fcntl
except ImportError:  # Windows, which never removes a file that is open
    fcntl = None

__all__ = ["cached", "download", "facts", "folder", "forget", "make_room", "pinned", "under_home"]

FOLDER, LIMIT = "~/.paddle/remote", 20.0  # gigabytes
STALE_PART = 24 * 3600  # seconds after which an unfinished copy may be removed
_facts: dict[str, Facts] = {}
_fetched = [0]  # bytes since the folder was last looked through


def under_home(path: str | Path) -> Path:
    """`path` with `~` replaced by the home folder. Raises ConfigError where there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"'{path}': this user has no home folder; set the environment variable HOME (or ZOO_CACHE for the cache of "
            "remote files)"
        ) from error


def folder() -> Path:
    """The folder of the cache."""
    return under_home(os.environ.get("ZOO_CACHE") or FOLDER)


def facts(address: str) -> Facts:
    """The Facts of an address, asked for once in a run. Raises ObjectError, RemoteError."""
    if address not in _facts:
        _facts[address] = transfer.facts(address)
    return _facts[address]


def forget(address: str | None = None) -> None:
    """Forget the facts of an address that was written to; without one, of all addresses."""
    if address is None:
        _facts.clear()
    else:
        _facts.pop(str(address), None)


@contextlib.contextmanager
def cached(address: str) -> Iterator[Path]:
    """Give the local copy of an object, kept from eviction inside the block.

    Raises ObjectError, RemoteError, OSError.
    """
    about = facts(address)
    if about.folder:
        raise ObjectError(address, "is a folder; expected a file")
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name[-80:]
    target = folder() / f"{key}-{about.version}-{name}"
    lock = target.with_name(f".lock-{key[:2]}")  # 256 of them for all objects: one each would pile up
    fetched = 0
    while (handle := pinned(target)) is None:
        fetched += download(address, target, about.size, lock)
    try:
        _fetched[0] += fetched
        if _fetched[0] > _limit() / 100:  # not after each of many small files: it would take longer than they do
            _fetched[0] = 0
            make_room(target.parent)
        yield target
    finally:
        os.close(handle)


def download(address: str, target: Path, size: int | None = None, lock: Path | None = None, sha256: str = "") -> int:
    """Fetch an object to the path `target`, which appears when it is whole.

    Returns the number of bytes fetched, 0 if the file is there already.

    Beside it lie `<target>.part`, which a later call continues, and the file `lock`, for threads and processes that
    want the same. `sha256` is checked of what is there, too. Raises ObjectError, RemoteError, OSError.
    """
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock or target.with_name(f".{target.name}.lock")):
        if target.exists():
            _check_digest(address, target, sha256, f"remove '{target}' to fetch it again")
            return 0
        transfer.get(address, part, size)
        try:
            _check_digest(address, part, sha256, "the file was dropped, check the address")
        except ObjectError:
            part.unlink()
            raise
        fetched = part.stat().st_size
        os.replace(part, target)  # from here on another process may remove it again
        return fetched


def _check_digest(address, file, sha256, advice):
    if sha256:
        with open(file, "rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != sha256.lower():
            raise ObjectError(address, f"has the SHA-256 {found}, expected {sha256}; {advice}")


def pinned(target: Path) -> int | None:
    """A handle that protects a file of the cache from eviction until it is closed; None if the file does not exist."""
    try:
        handle = os.open(target, os.O_RDONLY)
    except FileNotFoundError:
        return None
    if fcntl:
        fcntl.flock(handle, fcntl.LOCK_SH)
        if not os.fstat(handle).st_nlink:  # removed between the two calls
            os.close(handle)
            return None
    os.utime(target)
    return handle


def _limit():
    return setting("ZOO_CACHE_GB", LIMIT, 0) * 1e9


def make_room(cache: Path) -> None:
    """Remove least recently used files, except those in use, until the rest is within the limit."""
    found = []
    for entry in os.scandir(cache):
        with contextlib.suppress(FileNotFoundError):
            if entry.is_file() and not entry.name.startswith("."):
                found.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
    newest, total, limit = max(found, default=(0,))[0], sum(size for _, size, _ in found), _limit()
    for used, size, path in sorted(found):
        if total <= limit:
            break
        if path.endswith(".part") and newest - used < STALE_PART:
            continue
        if _removed(path):
            total -= size


def _removed(path):
    """Remove a file unless a process reads it."""
    with contextlib.suppress(FileNotFoundError, BlockingIOError, PermissionError):
        handle = os.open(path, os.O_RDWR)
        try:
            if fcntl:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
            return True
        finally:
            os.close(handle)
    return False
