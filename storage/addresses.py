"""Files that may be elsewhere: `s3://`, `gs://` and `http(s)://` addresses wherever a path can stand.

    with reading(path) as file:         a local file; of an address, its copy in the cache, safe from removal inside the block
    join(folder, name)                  a Path, or an address as text
    publish(file, address)              upload

The cache (ZOO_CACHE, ~/.paddle/remote) holds up to ZOO_CACHE_GB (20) gigabytes, and what is in use. Each run asks once for
each object whether it has changed. Threads and processes that want the same object fetch it once. The oldest use goes first.
"""

import contextlib
import hashlib
import logging
import os
import posixpath
import re
import urllib.parse
from pathlib import Path

from filelock import FileLock

from storage import transfer
from utils.errors import ConfigError, ObjectError, RemoteError

try:
    import fcntl
except ImportError:  # Windows, which never removes a file that is open
    fcntl = None

log = logging.getLogger("zoo")

CACHE, LIMIT = "~/.paddle/remote", 20.0  # the folder; gigabytes
STALE_PART = 24 * 3600  # seconds after which an unfinished copy may go
_facts, _fetched, _kept = {}, [0], contextlib.ExitStack()


def is_remote(path):
    """Whether a path is an address. (Windows drives have one letter.)"""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(path))) and not str(path).lower().startswith("file://")


def join(folder, *names):
    """`folder / name`: a Path, or, where one of them is an address, text."""
    for name in names:
        if is_remote(name):
            folder = name
        elif is_remote(folder):
            start, rest = re.match(r"([^:]+://[^/]*)(.*)", str(folder)).groups()
            folder = start + posixpath.normpath(posixpath.join("/", rest, str(name)))
        else:
            folder = Path(folder) / name
    return str(folder) if is_remote(folder) else Path(folder)


def parent(path):
    """The folder of a path or address."""
    return join(path, "..") if is_remote(path) else Path(path).parent


def suffix(path):
    """The ending of a path or address, in lower case, without what follows `?` in an address."""
    return Path(urllib.parse.urlsplit(str(path)).path if is_remote(path) else path).suffix.lower()


def exists(path):
    """Whether a file or folder is there. Raises RemoteError, and ObjectError where that may not be asked."""
    if not is_remote(path):
        return Path(path).exists()
    try:
        _facts_of(str(path))
    except ObjectError as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        return False
    return True


def files(path):
    """Addresses of the files at an address: of a folder those inside, sorted, else itself. Raises ObjectError, RemoteError."""
    if transfer.scheme(path) in ("http", "https") and str(path).endswith("/"):
        raise ObjectError(
            path, "is a folder, and those are listed at s3:// and gs:// only; name files, or a list of them"
        )
    return transfer.under(path) if _facts_of(path).folder else [path]


@contextlib.contextmanager
def reading(path):
    """Give a local file with the content of a path or address. Raises ObjectError (a DataError), RemoteError, ConfigError."""
    if not is_remote(path):
        path = Path(os.fsdecode(path))
        if path.exists() and not (path.is_file() or path.is_dir()):  # it might never end
            raise ObjectError(path, "is a pipe or a device; expected a file")
        yield path
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_cached(str(path)))
        except OSError as error:
            raise ConfigError(
                f"the cache '{folder()}' cannot be written ({error.strerror or error}) for '{path}'; make room, or name "
                "another folder with the environment variable ZOO_CACHE"
            ) from error
        yield file


def local(path):
    """`reading`, until the process ends."""
    return _kept.enter_context(reading(path))


def folder():
    """The folder of the cache."""
    return Path(os.environ.get("ZOO_CACHE") or CACHE).expanduser()


@contextlib.contextmanager
def _cached(address):
    facts = _facts_of(address)
    if facts.folder:
        raise ObjectError(address, "is a folder; expected a file")
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name[-80:]
    target = folder() / f"{key}-{facts.version}-{name}"
    fetched = 0
    while (handle := _pinned(target)) is None:
        fetched += _fetch(address, target, facts.size, key)
    try:
        _fetched[0] += fetched
        if (
            _fetched[0] > _limit() / 100
        ):  # going through the folder for each of many small files would take longer than they
            _fetched[0] = 0
            _make_room(target.parent)
        yield target
    finally:
        os.close(handle)


def _facts_of(address):
    if address not in _facts:
        _facts[address] = transfer.facts(address)
    return _facts[address]


def _pinned(target):
    """A handle that keeps a file of the cache from removal, or None where there is no such file."""
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


def _fetch(address, target, size, key):
    """Bytes fetched; 0 where another thread or process has done it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with FileLock(target.parent / f".lock-{key[:2]}"):  # 256 of them for all objects: one each would pile up
        if target.exists():
            return 0
        transfer.get(address, part, size)
        fetched = part.stat().st_size
        os.replace(part, target)  # from here on somebody else may remove it again
        return fetched


def _limit():
    return transfer.setting("ZOO_CACHE_GB", LIMIT, 0) * 1e9


def _make_room(cache):
    """Remove the files whose last use is longest ago, except those in use, until the rest is within the limit."""
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
    """Remove a file unless somebody reads it."""
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


# ---- writing


def staging(address):
    """Where a file is written before it is uploaded to an address; it stays there if that fails."""
    parts = urllib.parse.urlsplit(address)
    return folder() / "outgoing" / parts.scheme / parts.netloc / parts.path.lstrip("/")


def publish(file, address):
    """Upload a file; the object appears when it is whole. Raises RemoteError, which says where the local copy is."""
    _facts.pop(str(address), None)
    try:
        transfer.put(file, str(address))
    except (ObjectError, RemoteError) as error:
        raise RemoteError(f"{error}; the local copy is kept: '{file}'") from error


def copy(source, address):
    """Copy an object on the other side. Raises ObjectError, RemoteError."""
    _facts.pop(str(address), None)
    transfer.copy(source, address)


def remove(address):
    """Remove an object, if it is there. Raises ObjectError, RemoteError."""
    _facts.pop(str(address), None)
    transfer.remove(address)


def check_writable(address, flag):
    """Write and remove a small object in a folder, before any work is done for it. Raises ConfigError."""
    probe, file = join(address, ".write_test"), staging(join(address, ".write_test"))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        transfer.put(file, probe)
        transfer.remove(probe)
        file.unlink()
    except (ObjectError, RemoteError, ConfigError) as error:
        raise ConfigError(f"{flag} '{address}' cannot be written to: {error}; name another folder") from error
    except OSError as error:
        raise ConfigError(
            f"the cache '{folder()}' cannot be written ({error.strerror or error}); name another folder with the "
            "environment variable ZOO_CACHE"
        ) from error
