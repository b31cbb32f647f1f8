"""Models in service: each has a thread for its network and computes the clips of several requests at once."""

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from engine import views
from engine.predictor import Predictor
from reports.tables import top
from serving.decoding import Recipe
from serving.measures import Measures
from serving.settings import Settings
from utils.errors import ConfigError

BATCH_SECONDS = 2.0  # that a batch may take: whoever is in it waits for all of it


class Served:
    """A predictor in service. `start` and `stop` its loop in an event loop; `scores` from any task of it.

    Raises ConfigError for models of features, whose files cannot be taken from strangers.
    """

    def __init__(self, name: str, predictor: Predictor, settings: Settings, measures: Measures):
        if predictor.model.data != "clips":
            raise ConfigError(
                f"'{name}' is a {predictor.model.name}, which takes features; serve a model that takes clips"
            )
        self.name, self.predictor, self.measures = name, predictor, measures
        self.section = predictor.config.INFER
        self.recipe = Recipe.of(predictor.config, settings)
        self.most = max(1, settings.batch // self.section.views)
        self.max_wait = settings.max_wait
        self.coming = 0  # clips that are being decoded for this model
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._queue = self._task = None

    def warm(self) -> None:
        """Compute with the sizes of batches that are most frequent, and limit batches to what takes BATCH_SECONDS.

        The first time takes longer."""
        frames = np.zeros(self._shape, np.uint8)
        self._compute([frames])
        started = time.monotonic()
        self._compute([frames])
        self.most = max(1, min(self.most, int(BATCH_SECONDS / (time.monotonic() - started))))
        self._compute([frames] * self.most)

    @property
    def _shape(self):
        size, config = self.section.target_size, self.predictor.config
        return self.section.views, config.segments("infer") * config.MODEL.seglen, size, size, 3

    @property
    def sample_bytes(self) -> int:
        """Size of the frames of a clip."""
        return math.prod(self._shape)

    def start(self) -> None:
        """Begin to answer, in the running event loop."""
        self._queue = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the loop and the thread."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False)

    async def scores(self, frames: np.ndarray) -> np.ndarray:
        """Probabilities [classes] of frames uint8 [views, T, size, size, 3]. Raises ZooError."""
        future = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((frames, future))
        return await future

    def categories(self, row: np.ndarray, topk: int) -> list[dict[str, Any]]:
        """The best classes of a row of probabilities, best first: [{"id", "name", "score"}]."""
        names = self.predictor.names
        return [
            {"id": index, "name": names[index], "score": score} for score, index in zip(*top(row, topk), strict=True)
        ]

    def facts(self) -> dict[str, Any]:
        """What clients may know of the model."""
        return {"name": self.name, "model": self.predictor.model.name, "classes": len(self.predictor.names)}

    async def _run(self):
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            if not batch:
                continue
            self.measures.batches.observe(len(batch))
            try:
                rows = await loop.run_in_executor(self._thread, self._compute, [frames for frames, _ in batch])
            except Exception as error:  # it belongs to those who wait; the next batch may be fine
                _settle(batch, error=error)
            else:
                _settle(batch, rows)

    async def _gather(self):
        """Clips for one batch: all that are ready, and those that will be within `max_wait`."""
        batch = [await self._queue.get()]
        end = time.monotonic() + self.max_wait
        while len(batch) < self.most:
            if self._queue.empty() and not self.coming:
                break
            try:
                async with asyncio.timeout_at(end - time.monotonic() + asyncio.get_running_loop().time()):
                    batch.append(await self._queue.get())
            except TimeoutError:
                break
        return [each for each in batch if not each[1].done()]  # those who went away are left out

    def _compute(self, clips):
        frames = np.concatenate(clips)
        return views.probabilities(self.predictor.network.run, {"frames": frames}, self.section)


def _settle(batch, rows=(), error=None):
    """Answer those who still wait."""
    for place, (_, future) in enumerate(batch):
        if future.done():
            continue
        if error:
            future.set_exception(error)
        else:
            future.set_result(rows[place])
