"""Unpacking untrusted tar and zip files: only regular files with relative names, within limits of size.

An archive of a few kilobytes can claim gigabytes: as content, as a name in a header, as zeros after its end. What
counts is how much was really unpacked of it, and no more than that is ever read at once.
"""

import bz2
import contextlib
import gzip
import lzma
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from storage.files import replacing
from utils.errors import WeightsError

MAX_RATIO, FREE_BYTES = 100, 64 << 20  # unpacked bytes for each packed one, from some size on; weights hardly shrink
MAX_HEADER = 1 << 20  # bytes of a header, such as a long name
LZMA_MEMORY = 256 << 20
_CHUNK = 1 << 20
_COMPRESSED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open), (b"\x5d\0\0", lzma.open))


class Limits(NamedTuple):
    """What an archive may unpack to; the largest weights known here are below 1 GiB."""

    size: int = 4 << 30
    members: int = 100_000


LIMITS = Limits()

# What Python's tar and zip readers raise on damaged files: RuntimeError for a password, ValueError for impossible
# offsets.
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    LookupError,
    struct.error,
    MemoryError,
)


@contextlib.contextmanager
def unpacked(path: Path, limits: Limits = LIMITS) -> Iterator[Path]:
    """Unpack the archive `path` into a temporary folder, which lives as long as the block.

    Raises WeightsError, OSError.
    """
    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        try:
            with contextlib.closing(_members(path, limits)) as members:
                _unpack(path, members, Path(folder), limits)
        except BROKEN as error:
            raise WeightsError(
                f"'{path}': a damaged, encrypted or incomplete archive ({error}); fetch it again"
            ) from error
        yield Path(folder)


def unpack_to(path: Path, folder: Path) -> Path:
    """Unpack the archive `path` into `folder`, without its top folder if it has exactly one; returns `folder`.

    The name `folder` appears when it is whole. Raises WeightsError, or OSError.
    """
    with unpacked(path) as inside, replacing(folder) as beside:
        entries = list(inside.iterdir())
        top = entries[0] if len(entries) == 1 and entries[0].is_dir() else inside
        shutil.copytree(top, beside)
    return folder


def is_zip(path: Path) -> bool:
    """Whether a file starts as a zip does. (`zipfile.is_zipfile` looks at the end, where a tar may hold a zip.)"""
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, compressed or not. One that breaks off or is refused in its first header counts, too."""
    try:
        with _tar(path):
            return True
    except (EOFError, WeightsError):
        return True
    except (tarfile.TarError, OSError, zlib.error, lzma.LZMAError, ValueError):
        return False


class _Bounded:
    """The unpacked content of a compressed or plain file, of which only so much may be read, and little at once."""

    def __init__(self, path, file):
        self.path, self.file = path, file
        self.most = min(LIMITS.size + MAX_HEADER, FREE_BYTES + MAX_RATIO * path.stat().st_size)
        self.most = max(self.most, path.stat().st_size)

    def read(self, size):
        if size > MAX_HEADER:
            raise WeightsError(f"'{self.path}': refused: a header of it claims {size:,} bytes")
        self._check(self.file.tell() + size)
        try:
            return self.file.read(size)
        except OSError as error:
            if error.errno is None:  # how gzip and bz2 say that their data is damaged
                raise tarfile.ReadError(str(error)) from error
            raise

    def seek(self, position):
        self._check(position)
        return self.file.seek(position)

    def tell(self):
        return self.file.tell()

    def _check(self, position):
        if position > self.most + MAX_HEADER:
            raise WeightsError(
                f"'{self.path}': refused: it unpacks to more than {LIMITS.size >> 30} GiB, or to more than "
                f"{MAX_RATIO} times its size"
            )


@contextlib.contextmanager
def _tar(path):
    """An open TarFile, read through `_Bounded`."""
    with open(path, "rb") as file:
        start = file.read(1 << 12)
    opened = next((function for magic, function in _COMPRESSED if start.startswith(magic)), open)
    if opened is lzma.open:  # its header says how much memory it wants
        lzma.LZMADecompressor(memlimit=LZMA_MEMORY).decompress(start, max_length=1)
    with opened(path, "rb") as file, tarfile.open(fileobj=_Bounded(path, file), mode="r:") as archive:
        yield archive


def check_size(path: Path, archive: zipfile.ZipFile, limits: Limits = LIMITS) -> None:
    """Refuse an open ZipFile that declares too much.

    Python reads no more of a member than declared. Raises WeightsError.
    """
    _check_bounds(path, len(archive.infolist()), sum(info.file_size for info in archive.infolist()), limits)


def _members(path, limits):
    """(name, kind, opener) of each member; kind is "file", "folder" or what else it is."""
    if is_zip(path):
        with zipfile.ZipFile(path) as archive:
            check_size(path, archive, limits)
            for info in archive.infolist():
                unix_type = info.external_attr >> 28  # of st_mode; 0 where the writer stored none
                kind = "folder" if info.is_dir() else "file" if unix_type in (0, 0o10) else "link or device"
                yield info.filename, kind, partial(archive.open, info)
    else:
        with _tar(path) as archive:
            for info in archive:
                kind = "folder" if info.isdir() else "file" if info.isfile() else "link or device"
                yield info.name, kind, partial(archive.extractfile, info)
            while archive.fileobj.read(_CHUNK):  # past the end mark, to the checksum of the compressed stream
                pass


def _unpack(path, members, folder, limits):
    count = size = 0
    for name, kind, opener in members:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
            raise WeightsError(
                f"'{path}': refused: the member '{name}' would land outside the folder it is unpacked to"
            )
        if kind not in ("file", "folder"):
            raise WeightsError(
                f"'{path}': refused: the member '{name}' is a {kind}; only files and folders are unpacked"
            )
        count += 1
        _check_bounds(path, count, size, limits)
        target = folder.joinpath(*parts)
        try:
            (target if kind == "folder" else target.parent).mkdir(parents=True, exist_ok=True)
            if kind == "file":
                with opener() as source, open(target, "xb") as copy:
                    size = _copy(path, source, copy, size, limits)
        except (FileExistsError, NotADirectoryError) as error:
            raise WeightsError(f"'{path}': refused: two members share the name '{name}'") from error


def _copy(path, source, copy, size, limits):
    """Copy a member; `size` bytes were unpacked before it. Returns the new total."""
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        _check_bounds(path, 1, size, limits)
        try:
            copy.write(chunk)
        except OSError as error:
            raise WeightsError(
                f"'{path}' cannot be unpacked into '{tempfile.gettempdir()}': {error.strerror}; make room there, or "
                "name another folder with the environment variable TMPDIR"
            ) from error
    return size


def _check_bounds(path, count, size, limits):
    if count > limits.members or size > limits.size:
        raise WeightsError(
            f"'{path}': refused: it unpacks to more than {limits.size / 2**30:g} GiB or {limits.members} members"
        )
    if size > FREE_BYTES + MAX_RATIO * path.stat().st_size:
        raise WeightsError(f"'{path}': refused: it unpacks to more than {MAX_RATIO} times its size")
