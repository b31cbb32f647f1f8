"""Folders of files that are still being written: `.<name>.<8 characters>.part`, beside what they will be.

Each belongs to one writer, who holds a lock on it. After `kill -9` it remains, without a lock, and the next process
that writes into the same place removes it.
"""

import contextlib
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and nothing removed
    fcntl = None

__all__ = ["ASIDE", "kept_aside", "own_folder", "sweep"]

ASIDE = "earlier"  # name of a replaced folder inside the temporary one
PART = ".part"
_swept: set[Path] = set()  # folders that this process has looked through: once is enough


@contextlib.contextmanager
def own_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target` that is only ours: nobody can guess its name, or put a link there.

    It is removed when the block ends. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.parent not in _swept:
        _swept.add(target.parent)
        sweep(target.parent)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name[:60]}.", suffix=PART, dir=target.parent))
        with contextlib.suppress(BlockingIOError):  # another writer's `sweep` took it for abandoned, before our lock
            handle = _locked(folder)
            if folder.exists():
                break
            _close(handle)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _close(handle)


def sweep(parent: Path) -> None:
    """Remove such folders that writers who have died left in `parent`.

    One that holds the only copy of a replaced folder stays.
    """
    if fcntl is None:
        return
    for path in _all_in(parent):
        try:
            handle = _locked(path)
        except BlockingIOError:  # its writer lives
            continue
        if handle is not None:
            if not (path / ASIDE).exists() or _replaced(path):
                shutil.rmtree(path, ignore_errors=True)
            _close(handle)


def kept_aside(path: Path) -> Path | None:
    """Where the former content of a folder is, if a process was killed just while it was replaced; else None."""
    if path.exists() or not path.parent.is_dir():
        return None
    return next(path.parent.glob(f".{glob.escape(path.name[:60])}.*/{ASIDE}"), None)


def _all_in(parent):
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return [parent / name for name in names if re.fullmatch(rf"\..*\.[a-z0-9_]{{8}}{re.escape(PART)}", name)]
    return []


def _replaced(path):
    """Whether the folder is there that `path` was made for."""
    name = path.name[1 : -len(PART) - 9]
    return any(path.parent.glob(f"{glob.escape(name)}*" if len(name) == 60 else glob.escape(name)))


def _locked(folder):
    """A handle that holds a folder's lock, or None where folders cannot be locked.

    Raises BlockingIOError where another process has the lock.
    """
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except OSError:
        os.close(handle)
        return None
    return handle


def _close(handle):
    if handle is not None:
        os.close(handle)
