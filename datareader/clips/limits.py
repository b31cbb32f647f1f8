"""Limits on the memory and time that one clip may use, so that a few bytes cannot ask for gigabytes.

FFmpeg builds the index of an MP4 file from the numbers that its headers claim: 3 kB that claim 60 million samples cost
4 GB, before any frame is decoded. `claimed_entries` reads those numbers first, without allocating for them. In other
containers every index entry takes bytes of the file.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from utils.config.clips import ClipModelSection

__all__ = ["DEFAULTS", "Limits", "claimed_entries"]

# FFmpeg indexes uncompressed audio in blocks of about this many samples, and does not look at the claimed sample count.
AUDIO_BLOCK = 512
AUDIO_SAMPLES_PER_BYTE = 8  # at most, in codecs for speech; a track that claims more is not what it says
UNPACKED = 16 << 20  # bytes of a compressed header that are read


@dataclass(frozen=True)
class Limits:
    """Upper bounds for one clip. A clip above one of them is refused with a message that names the config key."""

    pixels: int  # of one frame
    packets: int  # that a header claims or a file holds
    seconds: float  # by the header

    @classmethod
    def of(cls, model: ClipModelSection) -> Self:
        """The limits in the MODEL section of a configuration."""
        return cls(model.max_pixels, model.max_packets, model.max_seconds)


DEFAULTS = Limits.of(ClipModelSection())


def claimed_entries(file: str | os.PathLike) -> int:
    """Index entries that the headers of an MP4 or QuickTime file claim, all tracks and fragments together.

    0 for other containers. Raises OSError.
    """
    size = os.path.getsize(file)
    with open(file, "rb") as opened:
        return sum(_entries(header, size) for header in _headers(opened, size))


def _headers(file: object, size: int) -> Iterator[bytes]:
    """The content of every top-level box but the media data, whose 4-byte types are text in this format only."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = struct.unpack(">Q", file.read(8).rjust(8, b"\0"))[0]
        length = length or size - start
        if length < 8 or not kind.isascii() or not kind.decode().isprintable():
            return
        if kind != b"mdat":
            yield file.read(min(length, size - start) - 8)
        start += length


def _entries(header: bytes, size: int, unpacked: bool = False) -> int:
    """Sum of the claims in one header. Boxes are found by their type, wherever they are: no nesting can hide one."""
    total = sum(_track_entries(track, size) for track in header.split(b"trak"))
    at = header.find(b"cmvd")
    if at >= 0 and not unpacked:  # a compressed header
        inner = zlib.decompressobj()
        try:
            total += _entries(inner.decompress(header[at + 8 :], UNPACKED), size, unpacked=True)
        except zlib.error:
            return total
        if inner.unconsumed_tail:
            total += struct.unpack(">I", header[at + 4 : at + 8].rjust(4, b"\0"))[0]
    return total


def _track_entries(track: bytes, size: int) -> int:
    times = [_table(track, at) for kind in (b"stts", b"ctts") for at in _places(track, kind)]
    samples = sum(_number(track, at + 8) for kind in (b"stsz", b"stz2") for at in _places(track, kind))
    fragments = sum(_number(track, at + 4) for at in _places(track, b"trun"))
    constant = all(len(table) == 1 and table[0, 1] == 1 for table in times)
    claimed = samples + sum(int(table[:, 0].sum()) for table in times)
    if b"soun" in track and b"vide" not in track and constant and samples <= AUDIO_SAMPLES_PER_BYTE * size:
        claimed = _audio_blocks(track)
    return claimed + fragments


def _audio_blocks(track: bytes) -> int:
    """Index entries of a track of uncompressed audio: its chunks, each divided into blocks."""
    chunks = sum(_number(track, at + 4) for kind in (b"stco", b"co64") for at in _places(track, kind))
    samples = [_table(track, at, 3)[:, 1].max(initial=0) for at in _places(track, b"stsc")]
    return chunks * (1 + int(max(samples, default=0)) // AUDIO_BLOCK)


def _places(data: bytes, kind: bytes) -> Iterator[int]:
    """Where the content of each box of this type starts."""
    at = data.find(kind)
    while at >= 0:
        yield at + 4
        at = data.find(kind, at + 4)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big") if at + 4 <= len(data) else 0


def _table(data: bytes, at: int, width: int = 2) -> np.ndarray:
    """int64 [n, width], the rows of a table; in a table of times they are (count, value)."""
    count = min(_number(data, at + 4), max(0, len(data) - at - 8) // (4 * width))
    return np.frombuffer(data, ">u4", width * count, at + 8 if count else 0).reshape(-1, width).astype(np.int64)
