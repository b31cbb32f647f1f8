"""The way of a clip through the service: a place, decoding, the network, an answer."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from datareader.long.windows import MICRO
from engine.timelines.windows import lengths
from metrics.timeline import Window, segments
from reports.pictures import data_uri
from serving.decoding import Decoders, decode, decode_windows
from serving.measures import Measures
from serving.models import Served
from serving.settings import Refused, Settings
from serving.spool import Clip, Spool
from utils.errors import ConfigError, ZooError, unknown

log = logging.getLogger("zoo")

MOST_CATEGORIES = 1000
WINDOWS_AT_ONCE = 32  # of a timeline that are decoded at a time
CHUNK_BYTES = 64 << 20  # of their frames
READY_AHEAD = 2  # decoded clips that may wait for the network, in batches


class Service:
    """Models, decoding processes and uploads of one service.

    load: called in a thread after the start; returns the models
    """

    def __init__(self, settings: Settings, load: Callable[[Settings, Measures], list[Served]]):
        self.settings, self._load = settings, load
        self.measures = Measures()
        self.models: dict[str, Served] = {}
        self.decoded: dict[str, asyncio.Semaphore] = {}  # room for clips between decoding and network
        self.ready, self.failed = False, None
        self.places = Places(settings.queue, self.measures)
        self.spool = Spool(settings)
        self.decoders = Decoders(settings)
        self._loading = None

    async def start(self, failed: Callable[[], None]) -> None:
        """Begin to load the models; `failed()` is called where that is not possible (see `self.failed`)."""
        self._loading = asyncio.create_task(self._start(failed))

    async def _start(self, failed):
        started = time.monotonic()
        try:
            models, _ = await asyncio.gather(
                asyncio.to_thread(self._load, self.settings, self.measures),
                self.decoders.warm(self.settings.processes),
            )
        except Exception as error:  # of any library: serve.py ends with it
            self.failed = error
            failed()
            return
        self.decoded = {model.name: asyncio.Semaphore(self._ahead(model)) for model in models}
        for model in models:
            model.start()
        self.models = {model.name: model for model in models}
        self.ready = True
        log.info("ready after %.1f s", time.monotonic() - started)

    def _ahead(self, model):
        return self.settings.processes + READY_AHEAD * model.most

    async def stop(self) -> None:
        """End everything, and remove the uploads."""
        self.ready = False
        self._loading.cancel()
        for model in self.models.values():
            await model.stop()
        await asyncio.to_thread(self.decoders.close)
        self.spool.close()

    def model(self, name: str | None) -> Served:
        """The model of a name; the first one if there is none. Raises Refused."""
        if not self.ready:
            raise Refused(503, "the models are being loaded; try again in a few seconds", 5)
        if not name:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refused(404, unknown("model", name, self.models))
        return self.models[name]

    async def classify(self, clip: Clip, model: Served, topk: int, picture: bool) -> dict:
        """The answer for a clip that has a place. Raises Refused; ends within the time limit."""
        started, stages = time.monotonic(), {}
        try:
            async with asyncio.timeout(self.settings.time_limit):
                decoded, row = await self._scores(clip, model, picture, stages)
        except TimeoutError as error:
            sentence = f"'{clip.name}': no answer within '{self.settings.time_limit:g}' seconds; try again later"
            raise Refused(504, sentence, self.places.wait()) from error
        except Refused:
            raise
        except ZooError as error:
            log.error("'%s' failed: %s", model.name, error)
            raise Refused(500, f"model '{model.name}' failed; the log of the service says why") from error
        stages["total"] = time.monotonic() - started
        for stage, seconds in stages.items():
            self.measures.stages.labels(stage).observe(seconds)
        answer = {
            "file": clip.name,
            "model": model.name,
            "categories": model.categories(row, min(topk, MOST_CATEGORIES)),
            "seconds": {stage: round(seconds, 4) for stage, seconds in stages.items()},
        }
        return {**answer, "frames": str(data_uri(decoded.picture))} if picture else answer

    async def _scores(self, clip, model, picture, stages):
        """(what was decoded, probabilities); the seconds of each stage are put into `stages`."""
        with _timed(stages, "queue"):
            await self.decoded[model.name].acquire()
        try:
            model.coming += 1
            try:
                with _timed(stages, "decode"):
                    decoded = await self.decoders.run(decode, model.recipe, clip, picture)
            finally:
                model.coming -= 1
            with _timed(stages, "network"):
                return decoded, await model.scores(decoded.frames)
        finally:
            self.decoded[model.name].release()

    async def timeline(self, clip: Clip, model: Served, window: float | None, stride: float | None) -> dict:
        """What happens when in a clip that has a place. window, stride: seconds, or None. Raises Refused."""
        length, step = _lengths(model, window or model.predictor.network.clip_seconds or self.settings.window, stride)
        try:
            async with asyncio.timeout(self.settings.timeline_limit):
                windows = await self._windows(clip, model, length, step)
        except TimeoutError as error:
            sentence = (
                f"'{clip.name}': no timeline within '{self.settings.timeline_limit:g}' seconds; cut it into parts"
            )
            raise Refused(504, sentence) from error
        found = segments(windows, model.predictor.names)
        return {
            "file": clip.name,
            "model": model.name,
            "duration": windows[-1].end,
            "window": length / MICRO,
            "stride": step / MICRO,
            "segments": [{**_span(each), "id": each.index, "name": each.name, "score": each.score} for each in found],
            "windows": [{**_span(each), "categories": model.categories(each.probabilities, 1)} for each in windows],
        }

    async def _windows(self, clip, model, length, step):
        """The windows of a clip with their scores; a few are decoded at a time."""
        windows = []
        while True:
            chunk = max(1, min(WINDOWS_AT_ONCE, CHUNK_BYTES // model.sample_bytes))
            async with self.decoded[model.name]:
                more = (length, step, len(windows), chunk)
                found = await self.decoders.run(decode_windows, model.recipe, clip, *more)
                rows = await asyncio.gather(*map(model.scores, found.frames))
            windows += [Window(*times, row) for times, row in zip(found.times, rows, strict=True)]
            if len(windows) > self.settings.windows:
                raise Refused(
                    400, f"'{clip.name}': more than '{self.settings.windows}' windows; give a longer 'window'"
                )
            if len(found.times) < chunk:
                return windows


class Places:
    """The bounded queue: how many clips are in work or waiting, and when a place will be free."""

    def __init__(self, most: int, measures: Measures):
        self.most, self.taken, self.measures = most, 0, measures
        self.pace = 0.1  # seconds between two answers, lately
        self._last = time.monotonic()

    @contextlib.contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Hold places inside the block. Raises Refused (429) where there are not enough."""
        self.require(count)
        busy = self.taken > 0
        self._change(count)
        if not busy:
            self._last = time.monotonic()
        try:
            yield
        finally:
            self._change(-count)
            now = time.monotonic()
            self.pace += 0.1 * ((now - self._last) / count - self.pace)
            self._last = now

    def require(self, count: int = 1) -> None:
        """Raise Refused (429) where there are not enough free places."""
        if self.taken + count > self.most:
            sentence = f"the queue of '{self.most}' clips is full; try again in {self.wait()} seconds"
            raise Refused(429, sentence, self.wait())

    def wait(self) -> int:
        """Seconds after which another try is worth it."""
        return min(60, max(1, round(self.taken * self.pace)))

    def _change(self, count):
        self.taken += count
        self.measures.queue.set(self.taken)


def _lengths(model, window, stride):
    """`engine.timelines.windows.lengths` for a request. Raises Refused."""
    try:
        return lengths(model.predictor.network, window, stride)
    except ConfigError as error:
        raise Refused(400, str(error)) from error


def _span(each):
    return {"start": each.start, "end": each.end}


@contextlib.contextmanager
def _timed(stages, name):
    started = time.monotonic()
    yield
    stages[name] = time.monotonic() - started
