"""Unpacking tar and zip files from strangers: regular files under relative names only, within a bounded size."""

import contextlib
import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from utils.errors import WeightsError

MAX_BYTES = 4 << 30  # unpacked; the largest weights known here are below 1 GiB
MAX_MEMBERS = 100_000
_CHUNK = 1 << 20

# What Python's tar and zip readers raise on damaged files: RuntimeError for a password, ValueError for impossible offsets.
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
def unpacked(path):
    """Unpack the archive `path` into a temporary folder, which lives as long as the block. Raises WeightsError, or OSError."""
    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        try:
            with contextlib.closing(_members(path)) as members:
                _unpack(path, members, Path(folder))
        except BROKEN as error:
            raise WeightsError(
                f"'{path}': a damaged, encrypted or incomplete archive ({error}); fetch it again"
            ) from error
        yield Path(folder)


def is_zip(path):
    """Whether a file starts as a zip does. (`zipfile.is_zipfile` looks at the end, where a tar may hold a zip.)"""
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_tar(path):
    """Whether a file is a tar, compressed or not; one that is cut off inside its first header counts, to be called damaged."""
    try:
        return tarfile.is_tarfile(path)
    except EOFError:
        return True


def check_size(path, archive):
    """Refuse an open ZipFile that declares too much. Python reads no more of a member than declared. Raises WeightsError."""
    _check_bounds(path, len(archive.infolist()), sum(info.file_size for info in archive.infolist()))


def _members(path):
    """(name, kind, opener) of each member; kind is "file", "folder" or what else it is."""
    if is_zip(path):
        with zipfile.ZipFile(path) as archive:
            check_size(path, archive)
            for info in archive.infolist():
                unix_type = info.external_attr >> 28  # of st_mode; 0 where the writer stored none
                kind = "folder" if info.is_dir() else "file" if unix_type in (0, 0o10) else "link or device"
                yield info.filename, kind, lambda info=info: archive.open(info)
    else:
        with tarfile.open(path) as archive:
            for info in archive:
                kind = "folder" if info.isdir() else "file" if info.isfile() else "link or device"
                yield info.name, kind, lambda info=info: archive.extractfile(info)
            while archive.fileobj.read(_CHUNK):  # past the end mark, to the checksum of the compressed stream
                pass


def _unpack(path, members, folder):
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
        _check_bounds(path, count, size)
        target = folder.joinpath(*parts)
        try:
            (target if kind == "folder" else target.parent).mkdir(parents=True, exist_ok=True)
            if kind == "file":
                with opener() as source, open(target, "xb") as copy:
                    size = _copy(path, source, copy, size)
        except (FileExistsError, NotADirectoryError) as error:
            raise WeightsError(f"'{path}': refused: two members share the name '{name}'") from error


def _copy(path, source, copy, size):
    """Copy a member; `size` bytes were unpacked before it. Returns the new total."""
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        _check_bounds(path, 1, size)
        copy.write(chunk)
    return size


def _check_bounds(path, count, size):
    if count > MAX_MEMBERS or size > MAX_BYTES:
        raise WeightsError(f"'{path}': refused: it unpacks to more than {MAX_BYTES >> 30} GiB or {MAX_MEMBERS} members")
