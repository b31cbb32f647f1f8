"""The frame-level message of a video: a tf.SequenceExample (tensorflow/core/example/example.proto).

A map is written as entries of a key and a value; the values are declared as bytes, so that a list of 300 frames is not
taken apart before it has to be. Three forms are read: YouTube-8M's (`rgb` and `audio`, a byte string of uint8 a frame),
the same with 16-bit floats (the context says so in `dtype`), and MediaPipe's (`RGB/feature/floats`).
"""

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np

from utils.errors import DataError, shown
from utils.protobuf import DecodeError, messages

__all__ = ["FEATURES", "WIDTHS", "parse_sequence_example", "sequence_example"]

WIDTHS = {"rgb": 1024, "audio": 128}  # values a frame in YouTube-8M
FEATURES = tuple(WIDTHS)
MEDIAPIPE = {"rgb": "RGB/feature/floats", "audio": "AUDIO/feature/floats"}
IDS = ("id", "video_id", "clip/media_id", "example/id", "clip/data_path")  # context keys, YouTube-8M's first
TYPES = {"": np.dtype(np.uint8), "float16": np.dtype("<f2")}

SequenceExample, Map, Entry, FeatureList, Feature, BytesList, FloatList, Int64List = messages(
    "zoo.youtube8m",
    {
        "SequenceExample": {1: "Map context", 2: "Map feature_lists"},
        "Map": {1: "repeated Entry entries"},
        "Entry": {1: "bytes key", 2: "bytes value"},
        "FeatureList": {1: "repeated Feature feature"},
        "Feature": {1: "BytesList bytes_list", 2: "FloatList float_list", 3: "Int64List int64_list"},
        "BytesList": {1: "repeated bytes value"},
        "FloatList": {1: "packed float value"},
        "Int64List": {1: "packed int64 value"},
    },
)


def parse_sequence_example(payload: bytes) -> dict[str, Any]:
    """{"id": str, "labels": [int] or None, "rgb": [n, width], "audio": [n, width] where there is sound}.

    The matrices are read-only, of uint8, float16 or float32. Raises DataError for video-level records, other features
    and damaged messages.
    """
    try:
        return _parsed(payload)
    except DecodeError as error:
        raise DataError("a damaged protobuf message; copy or download the shard again") from error


def _parsed(payload):
    example = SequenceExample.FromString(payload)
    context, frames = _mapping(example.context), _mapping(example.feature_lists)
    name = _text(next((context[key] for key in IDS if key in context), b""))
    dtype = _text(context.get("dtype", b""))
    if dtype not in TYPES:
        raise DataError(f"video '{name}' has features of type '{shown(dtype, 40)}'; expected uint8 or float16")
    found = {}
    for feature, floats in MEDIAPIPE.items():
        if feature in frames:
            found[feature] = _matrix(frames[feature], feature, name, TYPES[dtype])
        elif floats in frames:
            found[feature] = _float_matrix(frames[floats], feature, name)
    if "rgb" not in found:
        raise _without_frames(name, context, frames)
    rows = {feature: len(matrix) for feature, matrix in found.items()}
    if rows.get("audio", rows["rgb"]) != rows["rgb"]:
        raise DataError(
            f"video '{name}' has {rows['rgb']} frames of rgb and {rows['audio']} of audio; expected as many of both"
        )
    labels = list(Feature.FromString(context["labels"]).int64_list.value) if "labels" in context else None
    return {"id": name, "labels": labels, **found}


def _without_frames(name, context, frames):
    if {"mean_rgb", "mean_audio"} & set(context):
        return DataError(
            f"video '{name}' is a video-level tf.Example (mean_rgb, mean_audio); "
            "the models need the frame-level features: download the frame-level shards"
        )
    return DataError(
        f"the record of video '{name}' has no 'rgb'; expected id, labels, and rgb (or {MEDIAPIPE['rgb']}) of each "
        f"frame; found {sorted({*context, *frames})}"
    )


def _text(feature):
    """The text in an encoded Feature."""
    return b"".join(Feature.FromString(feature).bytes_list.value).decode("utf-8", "replace")


def _mapping(found):
    """{name: value} of a Map."""
    return {entry.key.decode("utf-8", "replace"): entry.value for entry in found.entries}


def _matrix(frames, feature, video, dtype):
    """FeatureList of byte strings, encoded -> [n, width].

    As it is usually written, it is a table of equal rows, which needs no message for each frame and no copy.
    """
    for size in {WIDTHS[feature], len(_first(frames))} if frames else ():
        header = _header(size)
        if size and size % dtype.itemsize == 0 and len(frames) % (len(header) + size) == 0:
            rows = np.frombuffer(frames, [("header", f"V{len(header)}"), ("data", dtype, size // dtype.itemsize)])
            if rows["header"].tobytes() == header * len(rows):
                return rows["data"]
    values = [value for frame in FeatureList.FromString(frames).feature for value in frame.bytes_list.value]
    rows = [np.frombuffer(value, dtype) for value in values if len(value) % dtype.itemsize == 0]
    if len(rows) < len(values):
        raise DataError(f"video '{video}' has frames of '{feature}' that are no rows of {dtype}; extract it again")
    return _stacked(rows, feature, video, dtype)


@functools.cache
def _header(size):
    """What precedes a frame of `size` bytes in an encoded FeatureList."""
    return _frames([bytes(size)])[: -size or None]


def _first(frames):
    """The byte string of the first frame of an encoded FeatureList, without reading the others."""
    size, at, shift = 0, 1, 0  # of the first Feature: after its key, its length as a varint
    while at < min(len(frames), 6):
        size |= (frames[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if frames[at - 1] < 0x80:
            break
    values = Feature.FromString(frames[at : at + size]).bytes_list.value
    return values[0] if values else b""


def _float_matrix(frames, feature, video):
    """FeatureList of lists of floats, encoded -> float32 [n, width]."""
    found = FeatureList.FromString(frames).feature
    return _stacked([np.array(frame.float_list.value, np.float32) for frame in found], feature, video, np.float32)


def _stacked(rows, feature, video, dtype):
    """Rows, which must be equally long, as a matrix."""
    if not rows:
        return np.empty((0, WIDTHS[feature]), dtype)
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise DataError(
                f"video '{video}', frame {i} of '{feature}' has '{len(row)}' values; expected {len(rows[0])}"
            )
    return np.stack(rows)


def _feature_of(value):
    """A Feature of one string of bytes."""
    return Feature(bytes_list=BytesList(value=[value]))


def _frames(rows):
    """The encoded FeatureList of strings of bytes."""
    return FeatureList(feature=map(_feature_of, rows)).SerializeToString()


def _map(values):
    """A Map of {name: encoded value}."""
    return Map(entries=[Entry(key=name.encode(), value=value) for name, value in values.items()])


def sequence_example(id: str, labels: Iterable[int] | None, rgb: np.ndarray, audio: np.ndarray | None = None) -> bytes:
    """The frame-level record of what `parse_sequence_example` gives, as YouTube-8M encodes it.

    rgb, audio: [n, width], both uint8 or both float16; labels: None where they are not known
    """
    context = {"id": _feature_of(id.encode("utf-8", "backslashreplace")).SerializeToString()}
    if labels is not None:
        context["labels"] = Feature(int64_list=Int64List(value=labels)).SerializeToString()
    if rgb.dtype == np.float16:
        context["dtype"] = _feature_of(b"float16").SerializeToString()
    lists = {"rgb": _frames(row.tobytes() for row in rgb)}
    if audio is not None:
        lists["audio"] = _frames(row.tobytes() for row in audio)
    return SequenceExample(context=_map(context), feature_lists=_map(lists)).SerializeToString()
