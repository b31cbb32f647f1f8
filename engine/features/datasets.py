"""The dataset of a model: its reader's, or for a feature model whose list names clips, one that extracts features.

Features of the lists of training and test are extracted into the cache before the first batch, with a progress bar.
"""

import logging
import os
from collections.abc import Sequence

from datareader import READERS, lists
from datareader.features.dataset import FeatureDataset
from datareader.loader import Dataset
from datareader.parallel import each
from engine.distributed.group import Group
from engine.features.cache import Features
from storage import addresses
from utils.config.schema import Config
from utils.errors import DataError

__all__ = ["ClipShard", "fill", "from_config", "from_paths"]

log = logging.getLogger("zoo")


class ClipShard:
    """One clip as a shard of one video: see datareader/features/shards.py."""

    def __init__(self, item: lists.Item, features: Features):
        self.item, self.features, self.entry = item, features, None

    def __len__(self) -> int:
        return 1

    def video(self, _: int) -> dict:
        """The clip's features, id and label. Raises DataError."""
        labels = None if self.item.label is None else [self.item.label]
        return {"id": self.item.name, "labels": labels, "rgb": self._rows()}

    def _rows(self):
        if self.features.folder is None:
            return self.features.rows(self.item.path)
        if self.entry is None or not self.entry.is_file():
            self.entry = self.features.kept(self.item.path)
        return self.features.finished(self.features.read(self.entry))


def from_config(family: str, config: Config, mode: str, seed: int = 0, group: Group | None = None) -> Dataset:
    """The samples that the mode's `filelist` names; `family` is the model's reader. Raises DataError, ConfigError."""
    section = config.section(mode)
    if family != "features" or not config.EXTRACTOR.model or not _names_clips(section.filelist, mode):
        return READERS[family].from_config(config, mode, seed)
    key = f"{mode.upper()}.filelist"
    items = lists.read_clip_list(
        section.filelist, key, config.MODEL.num_classes, mode != "infer", section.data_root, fallback="mp4"
    )
    features = Features(config.EXTRACTOR) if mode != "infer" else uncached(config)
    if features.folder is not None:
        group = group or Group()
        if group.is_main:
            fill(features, items, section.num_reader_threads, mode)
        group.wait()
    return _dataset(config, mode, items, features, seed)


def from_paths(family: str, config: Config, mode: str, paths: Sequence[str | os.PathLike]) -> Dataset:
    """Files and folders named on the command line. Raises DataError, ConfigError."""
    if family == "features" and config.EXTRACTOR.model:
        items = _clips(paths)
        if items:
            return _dataset(config, mode, items, uncached(config))
    return READERS[family].from_paths(config, mode, paths)


def uncached(config: Config) -> Features:
    """The features of clips that are seen once. Raises ConfigError, WeightsError."""
    features = Features(config.EXTRACTOR.model_copy(update={"cache": None}))
    _ = features.extractor  # what is wrong with it is said now
    return features


def _dataset(config, mode, items, features, seed=0):
    return FeatureDataset(config, mode, items, seed, opened=lambda item: ClipShard(item, features))


def _names_clips(filelist, mode):
    """Whether the first line of a list names a clip."""
    first = lists.read_lines(filelist, f"{mode.upper()}.filelist")[0]
    return any(addresses.suffix(name) in lists.CLIPS for name in (first, *first.rsplit(maxsplit=1)[:1]))


def _clips(paths):
    """Items of the clips among files and in folders; [] where there is none."""
    try:
        found = lists.find_clips(paths)
    except DataError:
        return []
    return [item for item in found if addresses.suffix(item.path) in lists.CLIPS]


def fill(features: Features, items: Sequence[lists.Item], threads: int, title: str) -> dict[str, str]:
    """Extract what the cache lacks; returns {name: reason} of the clips that cannot be read."""

    def job(item):
        try:
            features.kept(item.path)
        except DataError as error:
            return getattr(error, "reason", str(error))
        return None

    found = {item.name: reason for item, reason in each(job, items, threads, f"features of {title}")}
    return {item.name: found[item.name] for item in items if found[item.name]}
