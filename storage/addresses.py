"""Files that may be remote: `s3://`, `gs://` and `http(s)://` addresses wherever a path can stand.

with reading(path) as file:     a local file; of an address, its cached copy, kept from eviction inside the block
join(folder, name)              a Path, or an address as text
publish(file, address)          upload
"""

import contextlib
import errno
import os
import posixpath
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from storage import cache, transfer
from storage.remote import objects
from utils.errors import ConfigError, ObjectError, RemoteError

__all__ = [
    "check_writable", "copy", "exists", "files", "forget", "in_bucket", "is_remote", "join", "local", "parent",
    "publish", "reading", "remove", "staging", "stem", "suffix",
]  # fmt: skip

Anywhere = str | Path  # a path, or an address as text
_kept = contextlib.ExitStack()


def is_remote(path: Anywhere) -> bool:
    """Whether a path is an address. (Windows drives have one letter.)"""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", str(path))) and not str(path).lower().startswith("file://")


def in_bucket(path: Anywhere) -> bool:
    """Whether a path is an address that can be listed and written to: `s3://` or `gs://`."""
    return is_remote(path) and str(path).partition("://")[0].lower() in objects.BACKENDS


def join(folder: Anywhere, *names: Anywhere) -> Anywhere:
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


def parent(path: Anywhere) -> Anywhere:
    """The folder of a path or address."""
    return join(path, "..") if is_remote(path) else Path(path).parent


def suffix(path: Anywhere) -> str:
    """The ending of a path or address, in lower case, without what follows `?` in an address."""
    return Path(urllib.parse.urlsplit(str(path)).path if is_remote(path) else path).suffix.lower()


def stem(path: Anywhere) -> str:
    """The name of a file without its ending; of an address without what follows `?`."""
    return Path(urllib.parse.urlsplit(str(path)).path if is_remote(path) else path).stem


def exists(path: Anywhere) -> bool:
    """Whether a file or folder is there. Raises RemoteError, and ObjectError where that may not be asked."""
    if not is_remote(path):
        return Path(path).exists()
    try:
        cache.facts(str(path))
    except ObjectError as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        return False
    return True


def files(path: Anywhere) -> list[Anywhere]:
    """Addresses of the files at an address: of a folder those inside, sorted, else itself.

    Raises ObjectError, RemoteError.
    """
    if transfer.scheme(path) in ("http", "https") and str(path).endswith("/"):
        raise ObjectError(
            path, "is a folder, and those are listed at s3:// and gs:// only; name files, or a list of them"
        )
    return transfer.under(path) if cache.facts(str(path)).folder else [path]


@contextlib.contextmanager
def reading(path: Anywhere) -> Iterator[Path]:
    """Give a local file with the content of a path or address.

    Raises ObjectError (a DataError), RemoteError, ConfigError.
    """
    if not is_remote(path):
        path = Path(os.fsdecode(path))
        if path.exists() and not (path.is_file() or path.is_dir()):  # it might never end
            raise ObjectError(path, "is a pipe or a device; expected a file")
        yield path
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(cache.cached(str(path)))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # readers wait until other threads have closed theirs
                raise ObjectError(path, f"cannot be fetched ({error.strerror})") from error
            raise ConfigError(
                f"the cache '{cache.folder()}' cannot be written ({error.strerror or error}) for '{path}'; make "
                "room, or name another folder with the environment variable ZOO_CACHE"
            ) from error
        yield file


def local(path: Anywhere) -> Path:
    """`reading`, until the process ends."""
    return _kept.enter_context(reading(path))


def staging(address: str) -> Path:
    """Where a file is written before it is uploaded to an address; it stays there if that fails."""
    parts = urllib.parse.urlsplit(address)
    return cache.folder() / "outgoing" / parts.scheme / parts.netloc / parts.path.lstrip("/")


def forget(path: Anywhere) -> None:
    """Ask anew what is at an address, since somebody else may have written to it."""
    cache.forget(str(path))


def publish(file: str | Path, address: str) -> None:
    """Upload a file; the object appears when it is whole. Raises RemoteError, which says where the local copy is."""
    cache.forget(address)
    try:
        transfer.put(file, str(address))
    except (ObjectError, RemoteError) as error:
        raise RemoteError(f"{error}; the local copy is kept: '{file}'") from error


def copy(source: str, address: str) -> None:
    """Copy an object within its server. Raises ObjectError, RemoteError."""
    cache.forget(address)
    transfer.copy(source, address)


def remove(address: str) -> None:
    """Remove an object, if it is there. Raises ObjectError, RemoteError."""
    cache.forget(address)
    transfer.remove(address)


def check_writable(address: str, flag: str) -> None:
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
            f"the cache '{cache.folder()}' cannot be written ({error.strerror or error}); name another folder with the "
            "environment variable ZOO_CACHE"
        ) from error
