"""Writing files so that a name never stands for half a file; reading JSON that others wrote."""

import contextlib
import json
import os
import shutil
from pathlib import Path

from storage import addresses
from utils.errors import ConfigError


def writable_folder(path, flag):
    """Make the folder that `flag` asks for, before any work is done for it; of an address, see that it can be written to.
    Raises ConfigError."""
    if addresses.is_remote(path):
        addresses.check_writable(path, flag)
        return
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{flag} '{path}' cannot be made a folder ({error.strerror}); name another one") from error
    if not os.access(path, os.W_OK):
        raise ConfigError(f"{flag} '{path}' cannot be written to; name another folder, or change its permissions")


def not_a_file(path):
    """What a path is that is no file, for messages."""
    if Path(path).is_dir():
        return "is a folder; expected a file"
    if Path(path).exists():
        return "is a pipe or a device; expected a file"
    return "does not exist; check the path and the folder it is relative to"


def parse_json(text):
    """What JSON says. Raises ValueError, also for what nests too deep and for letters that no file or screen can be given."""
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it nests too deep") from error
    return content


@contextlib.contextmanager
def replacing(path):
    """Give a path beside `path` to write a file or folder at; it takes the name `path` when the block ends without an error.

    A file of that name is replaced, a folder only if it is empty. A file for an address is then uploaded. Raises OSError,
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
    beside = target.with_name(f".{target.name}.{os.getpid()}.new")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield beside
        os.replace(beside, target)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        beside.unlink(missing_ok=True)
