"""Decoding in processes: a clip that hangs or crashes FFmpeg costs its own request only.

A process imports the readers but not Paddle, so that a new one is there within a second.
"""

import asyncio
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from pebble import ProcessExpired, ProcessPool

from datareader.clips.dataset import ClipDataset
from datareader.lists import Item
from datareader.long.looking import sampler
from datareader.long.stream import file_windows
from reports.pictures import strip
from serving.settings import Refused, Settings
from serving.spool import Clip
from utils.config.clips import ClipConfig, ClipInferSection, ClipModelSection
from utils.errors import DataError, VideoError

PACKETS_PER_SECOND = 120  # of the longest clip that is allowed; more is taken for a lie
TOO_LARGE = "it needs too much memory; scale the video down or cut it into parts"


@dataclass(frozen=True)
class Recipe:
    """How a model wants its clips: keys of its MODEL and INFER sections, without its class, which needs Paddle."""

    model: dict
    infer: dict
    centre: str

    @classmethod
    def of(cls, config: ClipConfig, settings: Settings) -> "Recipe":
        """The recipe of a configuration, with the service's limits where they are lower."""
        model = {key: value for key, value in config.MODEL.model_dump().items() if key in ClipModelSection.model_fields}
        limits = {
            "max_pixels": settings.max_pixels,
            "max_seconds": settings.max_seconds,
            "max_packets": int(settings.max_seconds * PACKETS_PER_SECOND),
        }
        model |= {key: min(model[key], most) for key, most in limits.items()}
        return cls(model, config.INFER.model_dump(), config.MODEL.mp4_centre)

    def dataset(self, path: Path) -> ClipDataset:
        """The dataset of one clip."""
        kind = _Centred if self.centre == "clip" else ClipModelSection
        model = kind.model_construct(**self.model)
        config = ClipConfig.model_construct(MODEL=model, INFER=ClipInferSection.model_construct(**self.infer))
        return ClipDataset(config, "infer", [Item(path, None, "clip.mp4")])  # never a pickle, whatever it is called


class _Centred(ClipModelSection):
    mp4_centre: ClassVar[str] = "clip"


class Decoded(NamedTuple):
    """Frames uint8 [views, T, size, size, 3], a JPEG of some of them or b"", or the reason why there are none."""

    frames: np.ndarray | None
    picture: bytes = b""
    reason: str = ""


def decode(recipe: Recipe, path: Path, picture: bool) -> Decoded:
    """Read a clip; runs in a decoding process."""
    dataset = recipe.dataset(path)
    try:
        frames = dataset.read(0, 0)[0]
    except VideoError as error:
        return Decoded(None, reason=error.reason)
    except DataError as error:
        return Decoded(None, reason=str(error))
    except MemoryError:
        return Decoded(None, reason=TOO_LARGE)
    views = frames.reshape(-1, *frames.shape[-4:])
    return Decoded(views, strip(views[len(views) // 2]) if picture else b"")


class Windows(NamedTuple):
    """Some windows of a long video: their times in seconds and frames uint8 [views, T, size, size, 3]; or a reason."""

    times: list[tuple[float, float]]
    frames: list[np.ndarray]
    reason: str = ""


def decode_windows(recipe: Recipe, path: Path, length: int, step: int, first: int, count: int) -> Windows:
    """Up to `count` windows from window `first` on, lengths in microseconds; runs in a decoding process."""
    dataset, found = recipe.dataset(path), []
    try:
        for clip in file_windows(path, length, step, sampler(dataset), dataset.limits, first):
            found.append(clip)
            if len(found) == count:
                break
    except VideoError as error:
        return Windows([], [], error.reason)
    except MemoryError:
        return Windows([], [], TOO_LARGE)
    frames = [clip.frames.reshape(-1, *clip.frames.shape[-4:]) for clip in found]
    return Windows([(clip.start, clip.end) for clip in found], frames)


def start(limit: int) -> None:
    """Prepare a decoding process: Ctrl-C is for the service, memory is bounded, other processes use the other cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    cv2.setNumThreads(1)


class Decoders:
    """The pool of processes. `close` ends them."""

    def __init__(self, settings: Settings):
        self.seconds = settings.decode_limit
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPool(
            settings.processes, context=context, initializer=start, initargs=(settings.worker_bytes,)
        )

    async def warm(self, count: int) -> None:
        """Start the processes."""
        await asyncio.gather(*(asyncio.wrap_future(self.pool.schedule(os.getpid)) for _ in range(count)))

    async def run(self, function: Callable[..., Decoded | Windows], recipe: Recipe, clip: Clip, *more: object) -> Any:
        """`decode` or `decode_windows` in a process, which is ended if the caller is cancelled or it takes too long.

        Raises Refused."""
        future = self.pool.schedule(function, args=(recipe, clip.path, *more), timeout=self.seconds)
        try:
            found = await asyncio.wrap_future(future)
        except TimeoutError as error:
            sentence = f"'{clip.name}': decoding took more than '{self.seconds:g}' seconds; send a shorter clip"
            raise Refused(400, sentence) from error
        except ProcessExpired as error:
            raise Refused(
                400, f"'{clip.name}': the decoder crashed on it; re-encode it, for example as H.264"
            ) from error
        if found.reason:
            raise Refused(400, f"'{clip.name}': {found.reason}")
        return found

    def close(self) -> None:
        """End all processes."""
        self.pool.stop()
        self.pool.join(5)
