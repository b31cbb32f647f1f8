"""Training a classifier on a frozen backbone: its pooled features are computed once, not in every epoch.

    clips -> TRAIN.cache_backbone augmented views of each -> backbone (inference) -> a file of rows -> loader -> head

Epoch e takes view e modulo their number, as augmented as it would be in epoch e of an ordinary training: the first
epochs give the same checkpoints. Order, scores and checkpoints are the ordinary ones; validation clips have one view
each (or their num_clips x num_crops).
"""

import logging
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from datareader import loader_for
from datareader.loader import Dataset
from engine import bad_samples
from engine.export import memory
from engine.features.extractor import FRAMES_AT_ONCE
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.graph.step import Stepper
from models.base import ClipModel
from models.layers.parts import Embedding, Head
from utils.errors import ConfigError, DataError

__all__ = ["PooledDataset", "use_cached_features"]

log = logging.getLogger("zoo")

VIEWS = 8  # of each clip, where TRAIN.cache_backbone does not say


class Rows:
    """Features of a batch [B, views, width], and which clips they are of."""

    def __init__(self, features: np.ndarray, indices: np.ndarray):
        self.features, self.indices, self.nbytes = features, indices, features.nbytes

    def __setitem__(self, row: int, value: tuple[np.ndarray, int]) -> None:
        self.features[row], self.indices[row] = value

    def __getitem__(self, rows: Sequence[int]) -> "Rows":
        return Rows(self.features[rows], self.indices[rows])


class Frames:
    """The frames of a batch, read when they are asked for: reports show those of the worst mistakes."""

    def __init__(self, clips: Dataset, indices: np.ndarray, views: int):
        self.clips, self.indices, self.views = clips, indices, views

    def __len__(self) -> int:
        return len(self.indices) * self.views

    def __getitem__(self, place: int | slice):
        """uint8 [T, H, W, 3] of one row; of a slice, the frames of all rows, for nothing looks at them there."""
        if isinstance(place, slice):
            return self
        frames, _, _ = self.clips.read(int(self.indices[place // self.views]), 0)
        return frames.reshape(self.views, *frames.shape[-4:])[place % self.views]


class PooledDataset:
    """The samples of a clip dataset with their pooled features, in [epochs, clips, views, width], instead of frames."""

    def __init__(self, clips: Dataset, rows: np.ndarray, bad: dict[int, str]):
        self.clips, self.rows, self.bad = clips, rows, bad
        self.section, self.items, self.name, self.shuffled = clips.section, clips.items, clips.name, clips.shuffled
        self.clip_seconds = getattr(clips, "clip_seconds", None)
        self.known: dict[int, tuple] = {}  # index -> (label, id)

    def __len__(self) -> int:
        return len(self.clips)

    def read(self, index: int, epoch: int) -> tuple[tuple, int, str]:
        """((features [views, width], index), label, id). Raises DataError for a clip that could not be read."""
        if index in self.bad:
            raise DataError(self.bad[index])
        return (self.rows[epoch % len(self.rows), index], index), *self.known[index]

    def buffer(self, count: int) -> Rows:
        """Room for `count` samples."""
        return Rows(np.empty((count, *self.rows.shape[2:]), np.float32), np.empty(count, int))

    def feed(self, buffer: Rows, labels: Sequence[int]) -> dict:
        """What the head's graph is fed, and the frames; the views of a sample are consecutive rows."""
        _, views, width = buffer.features.shape
        return {
            "pooled": np.ascontiguousarray(buffer.features.reshape(-1, width)),
            "label": np.repeat(np.asarray(labels, np.int64), views).reshape(-1, 1),
            "frames": Frames(self.clips, buffer.indices, views),
        }


def use_cached_features(trainer: Any) -> None:
    """Let a trainer, whose weights are loaded, train its head on cached features where only the head is trained.

    Raises ConfigError where TRAIN.cache_backbone asks for it and more is trained.
    """
    wanted = getattr(trainer.config.TRAIN, "cache_backbone", 0)
    if wanted == 0:
        return
    head = _head_graph(trainer)
    if head is None:
        if wanted:
            raise ConfigError(
                f"TRAIN.cache_backbone '{wanted}' is for trainings of the classifier alone, and more is trained here; "
                "set TRAIN.freeze to backbone, or leave it out"
            )
        return
    config, group = trainer.config, trainer.group
    views = min(wanted or VIEWS, config.TRAIN.epoch)
    log.info("only the classifier is trained: features of %d views of each clip are computed once", views)
    rows = _pooled(trainer, trainer.model, trainer.train_data, config.TRAIN, views)
    trainer.train_data = rows
    trainer.loader = loader_for(rows, config.TRAIN, training=True, seed=trainer.seed, part=group.part)
    trainer.stepper = Stepper(trainer.device, head)
    if trainer.validation:
        model = type(trainer.model)(config, "valid", group.world)
        trainer.validation.data = _pooled(trainer, model, trainer.validation.data, config.VALID, 1)
        trainer.validation.graph = Graph(Head(model))


def _head_graph(trainer) -> Graph | None:
    """The training graph of the head, if nothing else of the model is trained; it shares all values with the whole."""
    model, whole = trainer.model, trainer.graph
    trained = {name for name, (_, trainable) in whole.parameters.items() if trainable}
    if not isinstance(model, ClipModel) or not all(name.startswith(model.head) for name in trained):
        return None
    head = Graph(
        Head(model),
        training=True,
        group=whole.group,
        pieces=whole.pieces,
        amp=whole.amp,
        use_gpu=trainer.device.use_gpu,
    )
    same = {name for name, (_, trainable) in head.parameters.items() if trainable} == trained
    return head if same and set(head.accumulators()) == set(whole.accumulators()) else None


def _pooled(trainer, model, clips: Dataset, section, epochs: int) -> PooledDataset:
    """The features of all clips as they are read in the given number of epochs."""
    run = _runner(trainer, model)
    shape = (epochs, len(clips), section.views, model.width)
    rows = np.memmap(tempfile.TemporaryFile(), np.float32, "w+", shape=shape)  # the system may write it to the disk
    dataset, loader = None, loader_for(clips, section, part=trainer.group.part)
    dataset = PooledDataset(clips, rows, loader.bad)
    total = epochs * len(loader)
    shown = None if trainer.group.is_main else True
    with loader, tqdm(total=total, desc="features", unit="batch", disable=shown, leave=False) as bar:
        for epoch in range(epochs):
            for batch in loader.epoch(epoch):
                frames = batch.feed["frames"]
                size = section.batch_size if trainer.device.use_gpu else max(1, FRAMES_AT_ONCE // frames.shape[1])
                found = np.concatenate([run(frames[i : i + size]) for i in range(0, len(frames), size)])
                rows[epoch, batch.indices] = found.reshape(len(batch.ids), *shape[2:])
                dataset.known |= dict(zip(batch.indices, zip(batch.labels, batch.ids, strict=True), strict=True))
                bar.update()
    bad_samples.merge(trainer.group, loader)
    if trainer.group.world > 1:
        _exchange(trainer.group, dataset)
    return dataset


def _runner(trainer, model: ClipModel):
    """frames uint8 [B, T, H, W, 3] -> features [B, width], by the weights that the trainer's device holds."""
    embedding = Embedding(model)
    graph = Graph(embedding)
    choice = memory.choose("auto", "auto", model, trainer.device.use_gpu)
    if choice:
        program = memory.FoldedProgram(embedding, trainer.device.get(graph.shapes), choice)
        return lambda frames: program.run({"frames": frames})[1]
    device = Device(trainer.device.use_gpu, model.onednn)
    device.initialise(graph)
    device.set(trainer.device.get(graph.shapes))
    return lambda frames: device.scores(graph, {"frames": frames})[1]


def _exchange(group, dataset: PooledDataset) -> None:
    """Give every process the rows, labels and ids that the others have computed."""
    for number in range(len(dataset.rows)):
        dataset.rows[number] = group.mean({"rows": dataset.rows[number]})["rows"] * group.world
    known = sorted(dataset.known)
    parts = group.gather(
        {
            "indices": np.array(known, int),
            "labels": np.array([dataset.known[index][0] for index in known], int),
            "ids": np.array([dataset.known[index][1] for index in known], str),
        }
    )
    rows = [
        [int(index), int(label), str(name)]
        for part in parts
        for index, label, name in zip(part["indices"], part["labels"], part["ids"], strict=True)
    ]
    dataset.known = {index: (label, name) for index, label, name in group.broadcast_object(rows)}
