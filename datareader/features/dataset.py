"""Features for AttentionCluster, AttentionLSTM and NEXTVLAD: the videos in shards as of YouTube-8M.

    list -> shards -> how many videos in each -> index -> (shard, video) -> which frames -> rows of a padded batch

TFRecords and pickles may be mixed, and with `MODEL.feature_type: float` quantised features and float ones. Randomness
is a function of (seed, epoch, index) alone. In memory are the batches and the places of the videos: eight bytes a video
of a TFRecord, and the structure of 2 * WINDOW pickles.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from datareader import lists
from datareader.clips.sampling import stride_indices
from datareader.features.quantising import dequantised
from datareader.features.shards import BrokenShard, LRUCache, Shard, open_shard, pickled_videos
from datareader.resources import patiently
from utils.config.features import FeatureConfig
from utils.errors import DataError, shown

__all__ = ["FeatureDataset", "Videos"]

WINDOW = 16  # shards whose videos are shuffled together
Opener = Callable[[lists.Item], Shard]


def shuffled_in_windows(firsts: Sequence[int], window: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of all videos: shards in random order, and the videos of each `window` shards likewise.

    firsts: index of each shard's first video, and the end
    """
    shards = rng.permutation(len(firsts) - 1)
    windows = [shards[i : i + window] for i in range(0, len(shards), window)]
    indices = [[np.arange(firsts[shard], firsts[shard + 1]) for shard in some] for some in windows]
    return np.concatenate([rng.permutation(np.concatenate(some)) for some in indices])


class Videos:
    """The features of a batch: {name: uint8 or float32 [B, frames, width]} and `length` int64 [B].

    Zeros follow the `length` frames of each video.
    """

    def __init__(self, features: dict[str, np.ndarray], length: np.ndarray) -> None:
        self.features, self.length = features, length
        self.nbytes = sum(array.nbytes for array in features.values())

    def __setitem__(self, row: int, video: dict[str, np.ndarray]) -> None:
        for name, frames in video.items():
            self.features[name][row, : len(frames)] = frames
            self.features[name][row, len(frames) :] = 0
            self.length[row] = len(frames)

    def __getitem__(self, rows: Sequence[int]) -> Self:
        return Videos({name: array[rows] for name, array in self.features.items()}, self.length[rows])


class FeatureDataset:
    """The videos of one mode. `read` gives (frames, labels, id); the loader stores them in a `buffer`."""

    def __init__(
        self, config: FeatureConfig, mode: str, items: Sequence[lists.Item], seed: int = 0, opened: Opener | None = None
    ) -> None:
        """opened: gives the shard of an item instead of the file at its path"""
        self.model, self.section = config.MODEL, config.section(mode)
        self.items, self.seed = items, seed
        self.training, self.labelled = mode == "train", mode != "infer"
        self.dtype = np.dtype(np.uint8 if self.model.feature_type == "uint8" else np.float32)
        self.frames = getattr(self.model, "seg_num", None)  # that AttentionCluster samples; others read a whole video
        self.outlines = LRUCache(pickled_videos, 2 * WINDOW)
        self.opened = opened or self._open
        self.shards = self._open_shards(mode)
        self.firsts = [0, *accumulate(map(len, self.shards))]  # index of each shard's first video, and the end

    @classmethod
    def from_config(cls, config: FeatureConfig, mode: str, seed: int = 0) -> Self:
        """The videos in the shards that the mode's `filelist` names. Raises DataError."""
        section = config.section(mode)
        items = lists.read_shard_list(section.filelist, f"{mode.upper()}.filelist", section.data_root)
        return cls(config, mode, items, seed)

    @classmethod
    def from_paths(cls, config: FeatureConfig, mode: str, paths: Sequence[str]) -> Self:
        """The videos in shards, or folders of shards, named on the command line. Raises DataError."""
        return cls(config, mode, lists.find_shards(paths))

    def _open_shards(self, mode: str) -> list[Shard]:
        """Shards in the order of the list.

        Raises DataError if more than half of them cannot be opened; outside training only if all of them cannot.
        """
        with ThreadPoolExecutor(self.section.num_reader_threads) as pool:
            opened = pool.map(self.opened, self.items)
            shards = list(
                tqdm(opened, total=len(self.items), desc=f"{mode} shards", unit="shard", disable=None, leave=False)
            )
        broken = [shard.reason for shard in shards if isinstance(shard, BrokenShard)]
        if 2 * len(broken) > len(shards) if self.training else len(broken) == len(shards):
            raise DataError(
                f"{len(broken)} of {len(shards)} shards of the {mode} list cannot be read: {'; '.join(broken[:3])}"
            )
        return shards

    def _open(self, item: lists.Item) -> Shard:
        try:
            return patiently(open_shard, item.path, self.outlines)
        except DataError as error:
            return BrokenShard(str(error))

    def __len__(self) -> int:
        return self.firsts[-1]

    def _locate(self, index: int) -> tuple[int, int]:
        """(position of the shard, position in the shard) of a video."""
        shard = bisect_right(self.firsts, index) - 1
        return shard, index - self.firsts[shard]

    def name(self, index: int) -> str:
        """The name of an unreadable video in messages and results: its shard as the list wrote it, and its place."""
        shard, i = self._locate(index)
        name = self.items[shard].name
        return name if isinstance(self.shards[shard], BrokenShard) else f"{name}, record {i}"

    def shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """Indices of all videos, in the order of an epoch.

        Shards are in random order, and so are the videos of each WINDOW shards: few shards are open at a time.
        """
        return shuffled_in_windows(self.firsts, WINDOW, rng)

    def buffer(self, count: int) -> Videos:
        """Buffers for `count` videos of the greatest length."""
        frames = self.frames or self.model.max_frames
        return Videos(
            {name: np.empty((count, frames, width), self.dtype) for name, width in self.model.features.items()},
            np.empty(count, np.int64),
        )

    def feed(self, buffer: Videos, labels: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
        """What the graph is fed: features [B, T, width] and, if known, multi-hot label float32 [B, classes].

        For models that take videos of any length, also `length` int64 [B]. T is then the length of the longest video,
        and zeros follow the shorter ones.
        """
        longest = buffer.length.max()
        feed = {name: np.ascontiguousarray(array[:, :longest]) for name, array in buffer.features.items()}
        if self.frames is None:
            feed["length"] = buffer.length
        if self.labelled:
            feed["label"] = np.zeros((len(labels), self.model.num_classes), np.float32)
            for row, classes in zip(feed["label"], labels, strict=True):
                row[classes] = 1
        return feed

    def read(self, index: int, epoch: int) -> tuple[dict[str, np.ndarray], list[int] | None, str]:
        """({feature: [n, width]}, list of labels or None, id).

        Raises DataError for a video that cannot be used.
        """
        shard, i = self._locate(index)
        video = self.shards[shard].video(i)
        where = f"'{self.items[shard].path}', record {i}"
        frames = self._frames(len(video["rgb"]), epoch, index)
        features = {name: self._checked(video, name, where)[frames] for name in self.model.features}
        return features, self._labels(video["labels"], where) if self.labelled else None, video["id"]

    def _checked(self, video: dict[str, Any], name: str, where: str) -> np.ndarray:
        """A feature of a video, as the graph takes it."""
        if name not in video:
            raise DataError(f"{where} has no '{name}'; for features of pictures alone set MODEL.feature_names to [rgb]")
        frames, width = video[name], self.model.features[name]
        if frames.shape[1] != width:
            raise DataError(
                f"{where}: '{name}' has {frames.shape[1]} values a frame, the model is set up for '{width}'"
            )
        if self.dtype == np.uint8 and frames.dtype != np.uint8:
            raise DataError(f"{where}: '{name}' is {frames.dtype}; set MODEL.feature_type to float")
        if frames.dtype == self.dtype:
            return frames
        frames = dequantised(frames) if frames.dtype == np.uint8 else frames.astype(np.float32)
        if not np.isfinite(frames).all():
            raise DataError(f"{where}: '{name}' holds numbers that are not finite; extract it again")
        return frames

    def _labels(self, labels: list[int] | None, where: str) -> list[int]:
        if labels is None:
            raise DataError(f"{where} has no 'label'; only infer.py does without")
        wrong = [label for label in labels if not 0 <= label < self.model.num_classes]
        if wrong:
            raise DataError(f"{where}: label '{shown(wrong[0], 40)}' is not in 0..{self.model.num_classes - 1}")
        return labels

    def _frames(self, count: int, epoch: int, index: int) -> slice | list[int]:
        """Indices of the frames that the network sees, of a video of `count` frames."""
        if self.frames is None:
            return slice(self.model.max_frames)
        rng = np.random.default_rng([self.seed, epoch, index]) if self.training else None
        return stride_indices(min(count, self.model.max_frames), self.frames, rng)
