"""A lock file for a folder that one process may write to. It names this process, and the lock ends with it."""

import contextlib
import datetime
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from storage import addresses
from utils.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None

__all__ = ["locked", "require_unlocked"]

PAUSE = 0.05  # seconds between two tries to get a lock
LONGEST = 300  # characters of a holder's description that are read


@contextlib.contextmanager
def locked(folder: str | Path, name: str, wanted: bool = True, patience: float = 0.0) -> Iterator[None]:
    """Hold the lock `.<name>.lock` of a folder inside the block, if `wanted`; wait up to `patience` seconds for it.

    Creates the folder. An address is not locked. The system releases the lock when its process ends in any way, so it
    is never stale; after `kill -9` the file remains and is used again. Raises ConfigError, naming the holder, if
    another process has the lock.
    """
    handle = _acquire(folder, name, patience) if wanted else None
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                os.unlink(_path(folder, name))
            os.close(handle)


def require_unlocked(folder: str | Path, name: str) -> None:
    """Raise ConfigError if another process holds the lock now. An early check before long work; it takes no lock."""
    if not addresses.is_remote(folder) and _path(folder, name).exists():
        with locked(folder, name):
            pass


def _path(folder, name):
    return Path(folder) / f".{name}.lock"


def _acquire(folder, name, patience):
    """A handle that holds the lock, or None where files cannot be locked."""
    if fcntl is None or addresses.is_remote(folder):
        return None
    path = _path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + patience
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, LONGEST).decode("utf-8", "replace").strip() or "another process"
            os.close(handle)
            if time.monotonic() < end:
                time.sleep(PAUSE)
                continue
            raise ConfigError(
                f"'{folder}' is being written to by {holder}; wait until it ends, or name another --save_dir"
            ) from None
        except OSError:  # a file system without locks
            os.close(handle)
            return None
        if _is_at(handle, path):
            break
        os.close(handle)  # its last holder has just removed it
    started = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    program = os.path.basename(sys.argv[0]) or "python"
    os.ftruncate(handle, 0)
    os.write(handle, f"{program} (process {os.getpid()} on {platform.node()}, since {started})".encode())
    return handle


def _is_at(handle, path):
    """Whether the open file still has that path."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle), found)
