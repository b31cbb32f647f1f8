"""TFRecord files without TensorFlow: records with their checksums. datareader/features/examples.py has what is in them.

A record is: length (uint64), masked CRC32C of the length, data, masked CRC32C of the data, all little-endian.
"""

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import google_crc32c

from storage import addresses
from utils.errors import DataError

HEADER, FOOTER = 12, 4  # bytes around a record's data
LONGEST = 64 << 20  # bytes; a real record of 300 frames has 0.35 MB


def records(path: str | Path) -> Iterator[bytes]:
    """The data of each record (bytes), one record in memory at a time.

    DataError names the file and the byte it failed at.
    """
    with _opened(path) as file:
        start = 0
        while header := file.read(HEADER):
            data = _data(file, _length(header, _where(path, start)), _where(path, start))
            yield data
            start += HEADER + len(data) + FOOTER


def index(path: str | Path) -> tuple[list[int], str | None]:
    """(where each record starts, None), from the records' headers alone, without reading their data.

    Where a damaged header hides the rest of the file: (what comes before it, the reason).
    """
    starts, start = [], 0
    with _opened(path, buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            while start < size:
                file.seek(start)
                length = _length(file.read(HEADER), _where(path, start))
                starts.append(start)
                start += HEADER + length + FOOTER
        except DataError as error:
            return starts, str(error)
    return starts, None


def record_at(path: str | Path, start: int) -> bytes:
    """The data of the record that starts at byte `start`. Raises DataError."""
    with _opened(path) as file:
        file.seek(start)
        return _data(file, _length(file.read(HEADER), _where(path, start)), _where(path, start))


def is_tfrecord(header: bytes) -> bool:
    """Whether a file with these first HEADER bytes is a TFRecord file: whether the first checksum fits."""
    return len(header) == HEADER and struct.unpack("<I", header[8:])[0] == masked_crc(header[:8])


@contextlib.contextmanager
def _opened(path, buffering=-1):
    try:
        with addresses.reading(path) as copy, open(copy, "rb", buffering) as file:
            yield file
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}") from error


def _where(path, start):
    return f"'{path}', record at byte {start}"


def _length(header, where):
    if len(header) < HEADER:
        raise DataError(f"{where}: the file ends inside the record's header; copy or download the shard again")
    if not is_tfrecord(header):
        raise DataError(f"{where}: the checksum of the length does not fit: damaged, or no uncompressed TFRecord file")
    (length,) = struct.unpack("<Q", header[:8])
    if length > LONGEST:
        raise DataError(f"{where}: the record has '{length}' bytes; expected at most {LONGEST}")
    return length


def _data(file, length, where):
    data, footer = file.read(length), file.read(FOOTER)
    if len(footer) < FOOTER:
        raise DataError(f"{where}: the file ends inside the record of {length} bytes; copy or download the shard again")
    if struct.unpack("<I", footer)[0] != masked_crc(data):
        raise DataError(f"{where}: the checksum of the data does not fit; copy or download the shard again")
    return data


def masked_crc(data: bytes) -> int:
    """CRC32C, rotated and shifted by a constant, as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def write(path: str | Path, payloads: Iterable[bytes]) -> None:
    """A TFRecord file of the given records."""
    with open(path, "wb") as file:
        for payload in payloads:
            length = struct.pack("<Q", len(payload))
            file.write(length + struct.pack("<I", masked_crc(length)))
            file.write(payload + struct.pack("<I", masked_crc(payload)))
