"""Writing files completely or not at all; reading JSON from untrusted sources."""

import contextlib
import ctypes
import errno
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from storage import addresses
from storage.partial import ASIDE, own_folder, sweep
from utils.errors import ConfigError

__all__ = ["not_a_file", "parse_json", "replacing", "replacing_folder", "sync", "writable_folder"]


AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's fcntl.h and fs.h


def writable_folder(path: str | Path, flag: str) -> None:
    """Make the folder that `flag` names, before any work is done for it; check that an address can be written to.

    Raises ConfigError.
    """
    if addresses.is_remote(path):
        addresses.check_writable(path, flag)
        return
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{flag} '{path}' cannot be created as a folder ({error.strerror}); name another folder"
        ) from error
    if not os.access(path, os.W_OK):
        raise ConfigError(f"{flag} '{path}' cannot be written to; name another folder, or change its permissions")


def not_a_file(path: str | Path) -> str:
    """Why a path is not a file, for messages."""
    if Path(path).is_dir():
        return "is a folder; expected a file"
    if Path(path).exists():
        return "is a pipe or a device; expected a file"
    return "does not exist; check the path and the folder it is relative to"


def parse_json(text: str) -> Any:
    """The content of JSON text. Raises ValueError, also for deep nesting and for characters that UTF-8 cannot hold."""
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it nests too deep") from error
    return content


def write_file(path: str | Path, write: Callable[[IO], object], mode: str = "w") -> str | Path:
    """Call `write(file)` on a file that takes the name `path` when it is whole; its folder is made. Returns the path.

    Raises ConfigError where there is no room or no permission, RemoteError.
    """
    # A file's name may hold what UTF-8 does not have.
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "", "errors": "backslashreplace"}
    try:
        with replacing(path) as beside, open(beside, mode, **text) as file:
            write(file)
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be written ({error.strerror or error}); make room, or name another --save_dir"
        ) from error
    return path


@contextlib.contextmanager
def replacing(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Give a path to write a file or folder at; it takes the name `path` when the block ends without an error.

    The path lies in a new folder beside `path` that is only ours (storage/partial.py). A file
    named `path` is replaced, a folder only if it is empty. A file for an address is uploaded. `durable`: the file is
    on the disk before it takes its name, so that a power cut leaves the old or the new one. Raises OSError,
    RemoteError.
    """
    if addresses.is_remote(path):
        target = addresses.staging(path)
        with replacing(target) as beside:
            yield beside
        addresses.publish(target, path)
        target.unlink()
        return
    target = Path(path)
    with own_folder(target) as folder:
        beside = folder / target.name
        yield beside
        if durable:
            sync(beside)
        os.replace(beside, target)
        if durable:
            sync(target.parent)


@contextlib.contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """`replacing` for a folder of this machine, which may hold files already: old and new change places in one step.

    Where the system cannot do that in one step, the old folder is moved away just before the new one takes its name;
    `partial.kept_aside` finds it if the process is killed in between. Raises OSError.
    """
    target = Path(path)
    with own_folder(target) as folder:
        beside = folder / "new"
        yield beside
        there = target.exists()
        if not (there and _exchange(beside, target)):
            if there:
                os.replace(target, folder / ASIDE)
            os.replace(beside, target)
    sweep(target.parent)


def _exchange(one, other):
    """Let two paths change places in one step; False where this system or file system cannot. Raises OSError."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    if renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
