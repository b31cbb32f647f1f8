"""YouTube-8M's TFRecord shards without TensorFlow: records with their checksums, and the frame-level message inside.

A record is: length (uint64), masked CRC32C of the length, data, masked CRC32C of the data, all little-endian. The data
is a tf.SequenceExample in protobuf's wire format (https://protobuf.dev/programming-guides/encoding):

    SequenceExample {1: Features context, 2: FeatureLists}            Features, FeatureLists {1: map of name -> ...}
    FeatureList {1: Feature, one a frame}                          Feature {1: BytesList | 2: FloatList | 3: Int64List}
"""

import contextlib
import os
import struct

import google_crc32c
import numpy as np

from storage import addresses
from utils.errors import DataError

WIDTHS = {"rgb": 1024, "audio": 128}  # bytes a frame
HEADER, FOOTER = 12, 4  # bytes around a record's data
LONGEST = 64 << 20  # bytes; a real record of 300 frames has 0.35 MB
VARINT, BYTES, FIXED = 0, 2, {1: 8, 5: 4}  # wire types; fixed ones by size in bytes


def records(path):
    """The data of each record (bytes), one record in memory at a time.

    DataError names the file and the byte it failed at.
    """
    with _opened(path) as file:
        start = 0
        while header := file.read(HEADER):
            data = _data(file, _length(header, _where(path, start)), _where(path, start))
            yield data
            start += HEADER + len(data) + FOOTER


def index(path):
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


def record_at(path, start):
    """The data of the record that starts at byte `start`. Raises DataError."""
    with _opened(path) as file:
        file.seek(start)
        return _data(file, _length(file.read(HEADER), _where(path, start)), _where(path, start))


def is_tfrecord(header):
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


def masked_crc(data):
    """CRC32C, rotated and shifted by a constant, as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def parse_sequence_example(payload):
    """{"id": str, "labels": [int], "rgb": uint8 [n, 1024], "audio": uint8 [n, 128]} of a frame-level record.

    The matrices are read-only views of the payload. Shards without ground truth give no labels. DataError for
    video-level records, other features and damaged messages.
    """
    context, frames = {}, {}
    for number, part in _fields(memoryview(payload)):
        if number in (1, 2):
            (context if number == 1 else frames).update(_mapping(part))
    name = b"".join(_values(context.get("id", b""))).decode("utf-8", "replace")
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
    return {"id": name, "labels": _integers(context.get("labels", b"")), "rgb": rgb, "audio": audio}


def _varint(message, at):
    """(value, position after it) of a base-128 number, least significant group first."""
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise DataError("a damaged protobuf message: a number does not end")


def _fields(message, wanted=BYTES):
    """(field number, value) of the fields of one wire type, in order: BYTES as memoryviews, VARINT as ints.

    Fields of other types are skipped, as protobuf skips what it does not know.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, at = _varint(message, at)
        elif wire_type == BYTES or wire_type in FIXED:
            size, at = _varint(message, at) if wire_type == BYTES else (FIXED[wire_type], at)
            if at + size > len(message):
                raise DataError(
                    f"a damaged protobuf message: a field of {size} bytes where {len(message) - at} are left"
                )
            value, at = message[at : at + size], at + size
        else:
            raise DataError(f"a damaged protobuf message: unknown wire type '{wire_type}'")
        if wire_type == wanted:
            yield number, value


def _mapping(entries):
    """{name: value} of a message whose field 1 is a protobuf map: its entries are messages {1: key, 2: value}."""
    pairs = [dict(_fields(entry)) for number, entry in _fields(entries) if number == 1]
    return {bytes(pair.get(1, b"")).decode("utf-8", "replace"): pair.get(2, b"") for pair in pairs}


def _values(feature):
    """The byte strings of a Feature that holds a BytesList."""
    return [value for number, values in _fields(feature) if number == 1 for _, value in _fields(values)]


def _integers(feature):
    """The numbers of a Feature that holds an Int64List, packed or not."""
    numbers = []
    for values in [values for number, values in _fields(feature) if number == 3]:
        numbers += [number for _, number in _fields(values, VARINT)]
        for _, packed in _fields(values):
            at = 0
            while at < len(packed):
                number, at = _varint(packed, at)
                numbers.append(number)
    return numbers


def _matrix(frames, feature, video):
    """FeatureList -> uint8 [n, width].

    As it is usually written, it is a table of equal rows, which needs no walk through the fields and no copy.
    """
    header, width = HEADERS[feature], WIDTHS[feature]
    if len(frames) % (len(header) + width) == 0:
        rows = np.frombuffer(frames, [("header", f"V{len(header)}"), ("data", np.uint8, width)])
        if rows["header"].tobytes() == header * len(rows):
            return rows["data"]
    values = [value for _, frame in _fields(frames) for value in _values(frame)]
    for i, value in enumerate(values):
        if len(value) != width:
            raise DataError(f"video '{video}', frame {i} of '{feature}' has '{len(value)}' values; expected {width}")
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, width)


def _number(value):
    """A varint."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _field(number, data):
    return _number(number << 3 | BYTES) + _number(len(data)) + data


def _feature_of(value):
    """A frame as an entry of a FeatureList: Feature {BytesList {value}} with its own key."""
    return _field(1, _field(1, _field(1, value)))


HEADERS = {feature: _feature_of(bytes(width))[:-width] for feature, width in WIDTHS.items()}  # what precedes each frame


def _entry(name, value):
    return _field(1, _field(1, name.encode()) + _field(2, value))


def sequence_example(id, labels, rgb, audio):
    """The frame-level record (bytes) of what `parse_sequence_example` gives, as YouTube-8M encodes it.

    rgb, audio: uint8 [n, width]
    """
    packed = b"".join(map(_number, labels))
    context = _entry("id", _field(1, _field(1, id.encode()))) + _entry("labels", _field(3, _field(1, packed)))
    lists = b"".join(
        _entry(feature, b"".join(_feature_of(row.tobytes()) for row in matrix))
        for feature, matrix in (("rgb", rgb), ("audio", audio))
    )
    return _field(1, context) + _field(2, lists)


def write(path, payloads):
    """A TFRecord file of the given records."""
    with open(path, "wb") as file:
        for payload in payloads:
            length = struct.pack("<Q", len(payload))
            file.write(length + struct.pack("<I", masked_crc(length)))
            file.write(payload + struct.pack("<I", masked_crc(payload)))
