"""YouTube-8M's TFRecord shards without TensorFlow: records with their checksums, and the frame-level message inside.

A record is: length (uint64), masked CRC32C of the length, data, masked CRC32C of the data, all little-endian. The data
is a tf.SequenceExample, a message of protobuf (tensorflow/core/example/example.proto). A map is written as entries of a
key and a value; the values are declared as bytes, so that a list of 300 frames is not taken apart before it has to be.
"""

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from storage import addresses
from utils.errors import DataError
from utils.protobuf import DecodeError, messages

WIDTHS = {"rgb": 1024, "audio": 128}  # bytes a frame
HEADER, FOOTER = 12, 4  # bytes around a record's data
LONGEST = 64 << 20  # bytes; a real record of 300 frames has 0.35 MB

SequenceExample, Map, Entry, FeatureList, Feature, BytesList, Int64List = messages(
    "zoo.youtube8m",
    {
        "SequenceExample": {1: "Map context", 2: "Map feature_lists"},
        "Map": {1: "repeated Entry entries"},
        "Entry": {1: "bytes key", 2: "bytes value"},
        "FeatureList": {1: "repeated Feature feature"},
        "Feature": {1: "BytesList bytes_list", 3: "Int64List int64_list"},
        "BytesList": {1: "repeated bytes value"},
        "Int64List": {1: "packed int64 value"},
    },
)


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


def parse_sequence_example(payload: bytes) -> dict[str, Any]:
    """{"id": str, "labels": [int], "rgb": uint8 [n, 1024], "audio": uint8 [n, 128]} of a frame-level record.

    The matrices are read-only. Shards without ground truth give no labels. DataError for video-level records, other
    features and damaged messages.
    """
    try:
        return _parsed(payload)
    except DecodeError as error:
        raise DataError("a damaged protobuf message; copy or download the shard again") from error


def _parsed(payload):
    example = SequenceExample.FromString(payload)
    context, frames = _mapping(example.context), _mapping(example.feature_lists)
    name = b"".join(Feature.FromString(context.get("id", b"")).bytes_list.value).decode("utf-8", "replace")
    if "rgb" not in frames and {"mean_rgb", "mean_audio"} & set(context):
        raise DataError(
            f"video '{name}' is a video-level tf.Example (mean_rgb, mean_audio); "
            "the models need the frame-level features: download the frame-level shards"
        )
    for part, found in (("id", context), ("rgb", frames), ("audio", frames)):
        if part not in found:
            raise DataError(
                f"the record of video '{name}' has no '{part}'; expected id, labels, and rgb and audio of each frame; "
                f"found {sorted({*context, *frames})}"
            )
    rgb, audio = (_matrix(frames[feature], feature, name) for feature in WIDTHS)
    if len(rgb) != len(audio):
        raise DataError(
            f"video '{name}' has {len(rgb)} frames of rgb and {len(audio)} of audio; expected as many of both"
        )
    labels = list(Feature.FromString(context.get("labels", b"")).int64_list.value)
    return {"id": name, "labels": labels, "rgb": rgb, "audio": audio}


def _mapping(found):
    """{name: value} of a Map."""
    return {entry.key.decode("utf-8", "replace"): entry.value for entry in found.entries}


def _matrix(frames, feature, video):
    """FeatureList, encoded -> uint8 [n, width].

    As it is usually written, it is a table of equal rows, which needs no message for each frame and no copy.
    """
    header, width = HEADERS[feature], WIDTHS[feature]
    if len(frames) % (len(header) + width) == 0:
        rows = np.frombuffer(frames, [("header", f"V{len(header)}"), ("data", np.uint8, width)])
        if rows["header"].tobytes() == header * len(rows):
            return rows["data"]
    values = [value for frame in FeatureList.FromString(frames).feature for value in frame.bytes_list.value]
    for i, value in enumerate(values):
        if len(value) != width:
            raise DataError(f"video '{video}', frame {i} of '{feature}' has '{len(value)}' values; expected {width}")
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, width)


def _feature_of(value):
    """A Feature of one string of bytes."""
    return Feature(bytes_list=BytesList(value=[value]))


def _frames(rows):
    """The encoded FeatureList of strings of bytes."""
    return FeatureList(feature=map(_feature_of, rows)).SerializeToString()


def _map(**values):
    """A Map of {name: encoded value}."""
    return Map(entries=[Entry(key=name.encode(), value=value) for name, value in values.items()])


HEADERS = {feature: _frames([bytes(width)])[:-width] for feature, width in WIDTHS.items()}  # what precedes each frame


def sequence_example(id: str, labels: Iterable[int], rgb: np.ndarray, audio: np.ndarray) -> bytes:
    """The frame-level record of what `parse_sequence_example` gives, as YouTube-8M encodes it.

    rgb, audio: uint8 [n, width]
    """
    named = _map(
        id=_feature_of(id.encode()).SerializeToString(),
        labels=Feature(int64_list=Int64List(value=labels)).SerializeToString(),
    )
    lists = _map(rgb=_frames(row.tobytes() for row in rgb), audio=_frames(row.tobytes() for row in audio))
    return SequenceExample(context=named, feature_lists=lists).SerializeToString()


def write(path: str | Path, payloads: Iterable[bytes]) -> None:
    """A TFRecord file of the given records."""
    with open(path, "wb") as file:
        for payload in payloads:
            length = struct.pack("<Q", len(payload))
            file.write(length + struct.pack("<I", masked_crc(length)))
            file.write(payload + struct.pack("<I", masked_crc(payload)))
