"""Shards of features: TFRecords as of YouTube-8M, and the old zoo's pickles. A shard may be larger than memory.

Opening a shard finds where its videos lie; `video(i)` then reads one of them. Both kinds give the same dictionary:
{"id": str, "labels": [int] or None, "rgb": [n, width], "audio": [n, width] where there is sound} with the n >= 1
frames to use. YouTube-8M has uint8, and 1024 and 128 values a frame; other features may be float16 or float32.
"""

import os
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from datareader.clips.pickles import is_clip
from datareader.features import tfrecord
from datareader.features.examples import FEATURES, parse_sequence_example
from storage import addresses
from storage.files import not_a_file
from utils.errors import DataError, shown
from utils.pickles.lazy import StoredArray, outline

__all__ = ["BrokenShard", "LRUCache", "PickleShard", "Shard", "TFRecordShard", "open_shard", "pickled_videos"]

FRAMES = 300  # YouTube-8M's longest video; tf2pkl wrote the same bound into a pickle's `nframes`
LONGEST_ID = 1000  # characters
TYPES = (np.uint8, np.float16, np.float32)
Value = TypeVar("Value")


def open_shard(path: str | os.PathLike, outlines: "LRUCache[list]") -> "Shard":
    """The shard at `path`; its content tells the kind. `outlines`: a cache of `pickled_videos`. Raises DataError."""
    try:
        with addresses.reading(path) as copy:
            if not copy.is_file():  # opening a pipe would wait for ever
                raise DataError(f"'{path}' {not_a_file(copy)}")
            with open(copy, "rb") as file:
                header = file.read(tfrecord.HEADER)
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}") from error
    if not header:
        raise DataError(f"'{path}' is empty")
    if not tfrecord.is_tfrecord(header) and header[0] in b"\x80(]}":  # first instructions of a pickle's protocols
        return PickleShard(path, outlines)
    return TFRecordShard(path)


class TFRecordShard:
    """A file of tf.SequenceExamples. What lies behind a damaged header counts as one video, which cannot be read."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = path
        starts, self.damage = tfrecord.index(path)
        self.starts = array("q", starts)  # eight bytes a video, for millions of them

    def __len__(self) -> int:
        return len(self.starts) + bool(self.damage)

    def video(self, i: int) -> dict[str, Any]:
        """The i-th video. Raises DataError."""
        if i == len(self.starts):
            raise DataError(self.damage)
        record = tfrecord.record_at(self.path, self.starts[i])
        try:
            video = parse_sequence_example(record)
        except DataError as error:
            raise DataError(f"'{self.path}', record {i}: {error}") from error
        video["id"] = video["id"] or f"{Path(str(self.path)).stem}, record {i}"
        count = FRAMES if video["rgb"].dtype == np.uint8 else len(video["rgb"])
        return _used_frames(video, count, f"'{self.path}', record {i}")


class PickleShard:
    """A list of dictionaries, one a video."""

    def __init__(self, path: str | os.PathLike, outlines: "LRUCache[list]") -> None:
        self.path, self.outlines, self.count = path, outlines, len(outlines[path])

    def __len__(self) -> int:
        return self.count

    def video(self, i: int) -> dict[str, Any]:
        """The i-th video. Raises DataError."""
        where = f"'{self.path}', record {i}"
        found = self.outlines[self.path][i]
        if not isinstance(found, dict):
            raise DataError(f"{where}: expected a dictionary, found {type(found).__name__}")
        found = {_text(key): value for key, value in found.items()}  # bytes by Python 2, str by v1.6's tool (quirk 30)
        missing = [key for key in ("video", "feature", "nframes") if key not in found]
        if missing:
            raise DataError(
                f"{where} has no {', '.join(map(repr, missing))}; expected video, feature, label, nframes, and audio, "
                f"found {shown(', '.join(map(repr, sorted(found))))}"
            )
        video = {
            "id": _text(found["video"]),
            "labels": _labels(found.get("label"), where),
            "rgb": _matrix(found["feature"], "feature", where),
        }
        if "audio" in found:
            video["audio"] = _matrix(found["audio"], "audio", where)
        rows = len(video["rgb"]), len(video.get("audio", video["rgb"]))
        if rows[0] != rows[1]:
            raise DataError(
                f"{where}: {rows[0]} frames of 'feature' and {rows[1]} of 'audio'; expected as many of both"
            )
        if not isinstance(found["nframes"], int | np.integer):
            raise DataError(f"{where}: 'nframes' is '{shown(found['nframes'])}', expected a whole number")
        return _used_frames(video, min(int(found["nframes"]), rows[0]), where)


class BrokenShard:
    """Represents an unreadable file as one unreadable video."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __len__(self) -> int:
        return 1

    def video(self, _: int) -> dict[str, Any]:
        """Raises DataError."""
        raise DataError(self.reason)


Shard = TFRecordShard | PickleShard | BrokenShard


def pickled_videos(path: str | os.PathLike) -> list:
    """The list in a pickle; its arrays stay in the file. Raises DataError, which says what other pickles are."""
    content = outline(path, reading=addresses.reading)
    if isinstance(content, dict):
        return [content]  # one video, as the zoo's successor stored them
    if is_clip(content):
        raise DataError(
            f"'{path}' is a Kinetics clip, a pickle of (video_id, label, frames), which TSN and STNET read; "
            "the feature models read YouTube-8M shards, pickles of a list of dictionaries"
        )
    if not isinstance(content, list | tuple):
        raise DataError(f"'{path}': expected a list of dictionaries, one a video, found {type(content).__name__}")
    if not content:
        raise DataError(f"'{path}' is an empty list")
    return content


class LRUCache(Generic[Value]):
    """`make(key)` for the `size` keys used last. It is called once for a key, however many threads ask at a time."""

    def __init__(self, make: Callable[[Any], Value], size: int) -> None:
        self.make, self.size = make, size
        self.lock, self.entries = threading.Lock(), OrderedDict()

    def __getitem__(self, key: Hashable) -> Value:
        with self.lock:
            entry = self.entries.setdefault(key, _Entry())
            self.entries.move_to_end(key)
            if len(self.entries) > self.size:
                self.entries.popitem(last=False)
        with entry.lock:  # its own: a file that hangs holds up only the threads that want that file
            if entry.value is None:
                entry.value = self.make(key)
        return entry.value


class _Entry:
    def __init__(self) -> None:
        self.lock, self.value = threading.Lock(), None


def _text(value: object) -> str:
    """A key or an id as text that can be printed and stored."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else shown(value, LONGEST_ID)


def _labels(value: object, where: str) -> list[int] | None:
    value = value.read().tolist() if isinstance(value, StoredArray) else value
    # numpy would take True and False, which are numbers too, for a mask.
    if value is not None and not (
        isinstance(value, list | tuple)
        and all(isinstance(label, int | np.integer) and not isinstance(label, bool) for label in value)
    ):
        raise DataError(f"{where}: 'label' is '{shown(value)}', expected a list of class indices")
    return value


def _matrix(value: object, key: str, where: str) -> np.ndarray:
    matrix = value.read() if isinstance(value, StoredArray) else np.asarray(None)
    if matrix.dtype not in TYPES or matrix.ndim != 2:
        found = f"{matrix.dtype} {list(matrix.shape)}" if isinstance(value, StoredArray) else type(value).__name__
        raise DataError(f"{where}: '{key}' is {found}; expected features, uint8, float16 or float32 [frames, values]")
    return matrix


def _used_frames(video: dict[str, Any], count: int, where: str) -> dict[str, Any]:
    if count < 1 or not len(video["rgb"]):
        raise DataError(f"{where} (video '{video['id']}') has no frames")
    return {**video, **{name: video[name][:count] for name in FEATURES if name in video}}
