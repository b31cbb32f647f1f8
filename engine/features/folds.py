"""Cross-validation of a feature model: every clip is scored by a model that was not trained on its group.

    clips -> groups (a recording, a person: what must not be in both lists) -> for each: train on the others, score it

Graphs are built once and initialised anew for each group and seed; nothing is written.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from datareader import lists, loader_for
from datareader.features.dataset import FeatureDataset
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.graph.step import Stepper
from engine.weights import load as weight_files
from models.base import Model
from utils.config.features import FeatureConfig
from utils.errors import ConfigError, DataError

__all__ = ["Fold", "groups", "scores", "video_shards"]


class Fold(NamedTuple):
    """Scores of the clips of a group by models that did not see it."""

    seed: int
    group: str
    indices: list[int]  # of its clips
    probabilities: np.ndarray  # [clips, classes]


def groups(names: Sequence[str], pattern: str) -> dict[str, list[int]]:
    """{group: positions of its clips} by what `pattern` finds in their names; ConfigError where it finds nothing."""
    try:
        found = [re.search(pattern, name) for name in names]
    except re.error as error:
        raise ConfigError(f"--group_by '{pattern}' is no regular expression: {error}") from error
    missing = [name for name, match in zip(names, found, strict=True) if match is None]
    if missing:
        raise ConfigError(f"--group_by '{pattern}' does not match the clip '{missing[0]}' ({len(missing)} in all)")
    grouped = {}
    for index, match in enumerate(found):
        grouped.setdefault(match[0], []).append(index)
    if len(grouped) < 2:
        raise ConfigError(
            f"--group_by '{pattern}' puts all clips into one group '{next(iter(grouped))}'; make it finer"
        )
    return dict(sorted(grouped.items()))


class _Kept:
    """A video in memory as a shard of its own."""

    def __init__(self, video: dict):
        self.kept = video

    def __len__(self) -> int:
        return 1

    def video(self, _: int) -> dict:
        return self.kept


def video_shards(dataset: FeatureDataset) -> list[tuple[lists.Item, _Kept]]:
    """The videos of a dataset as (item, shard) of one video each. Raises DataError for one that cannot be read."""
    found = []
    for item, shard in zip(dataset.items, dataset.shards, strict=True):
        for i in range(len(shard)):
            video = shard.video(i)
            found.append((lists.Item(item.path, None, video["id"]), _Kept(video)))
    return found


def scores(
    model_class: type[Model], config: FeatureConfig, videos: Sequence[tuple], grouped: dict, seeds: Sequence[int]
) -> Iterator[Fold]:
    """Train and score for each seed and group. `videos` as of `video_shards`, `grouped` as of `groups`."""
    model, device = model_class(config, "train"), Device()
    graph = Graph(model, training=True)
    test, stepper = Graph(model_class(config, "test")), Stepper(device, graph)
    shards = {item.name: shard for item, shard in videos}
    if len(shards) < len(videos):
        raise DataError(f"{len(videos) - len(shards)} clips have the name of another; give each a name of its own")
    jobs = [(seed, group) for seed in seeds for group in grouped]
    for seed, group in tqdm(jobs, desc="folds", unit="fold", disable=None):
        inside = set(grouped[group])
        items = [item for i, (item, _) in enumerate(videos) if i not in inside]
        train = FeatureDataset(config, "train", items, seed, opened=lambda item: shards[item.name])
        device.initialise(graph, seed)
        device.set(weight_files.constants(model))
        with loader_for(train, config.TRAIN, training=True, seed=seed) as loader:
            for epoch in range(config.TRAIN.epoch):
                for number, batch in enumerate(loader.epoch(epoch)):
                    step = epoch * len(loader) + number
                    stepper(batch.feed, model.rate(step, len(loader)), (seed, step))
        left = [videos[i][0] for i in grouped[group]]
        held = FeatureDataset(config, "test", left, seed, opened=lambda item: shards[item.name])
        with loader_for(held, config.TEST) as loader:
            rows = [device.scored(test, batch.feed)[0] for batch in loader.epoch()]
        yield Fold(seed, group, grouped[group], np.concatenate(rows))
