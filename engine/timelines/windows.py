"""The windows of a long video through a network: batches of them while a thread decodes the next."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from datareader import READERS, lists
from datareader.clips.dataset import ClipDataset
from datareader.long.ahead import ahead
from datareader.long.arriving import caller_windows
from datareader.long.clip import Clip
from datareader.long.looking import sampler
from datareader.long.stream import file_windows
from datareader.long.windows import check_stride, microseconds
from engine import views
from metrics.timeline import Window
from storage import addresses
from utils.errors import ConfigError, DataError, VideoError

__all__ = ["Frames", "lengths", "stream"]

Frames = Iterable[tuple[float, np.ndarray]]  # (timestamp in seconds, RGB uint8 [H, W, 3])


def lengths(network: Any, window: float | str = "auto", stride: float | None = None) -> tuple[int, int]:
    """(window, stride) in microseconds. Raises ConfigError.

    window: seconds, or "auto" for the mean length of the clips that the network was trained on
    stride: seconds from one window's start to the next one's; default: half a window
    """
    if network.model.data != "clips":
        raise ConfigError(
            f"--window_seconds '{window}' is for models that classify clips; {network.model.name} classifies features "
            "of whole videos: give one file of features a video instead"
        )
    if window == "auto":
        if not network.clip_seconds:
            raise ConfigError(
                "--window_seconds 'auto' is the mean length of the training clips, which these weights do not tell "
                "(checkpoints of this zoo do since it has timelines, if they were trained on local videos); give "
                "seconds"
            )
        window = network.clip_seconds
    length = microseconds(window, "--window_seconds")
    step = length // 2 if stride is None else microseconds(stride, "--stride_seconds")
    check_stride(length, step)
    return length, step


def stream(
    network: Any, source: str | os.PathLike | Frames, length: int, step: int, first: int = 0
) -> Iterator[Window]:
    """Yield the windows of a video with their scores, in order, from window `first` on.

    network: a LoadedModel or an ExportedModel; length, step: of `lengths`
    source: path or address of a video, or frames as they come, of which each window is yielded as soon as it is over
    Raises DataError.
    """
    dataset = READERS["clips"](network.config, "infer", [])
    if not isinstance(source, str | os.PathLike):
        return _scored(network, dataset, caller_windows(source, length, step, sampler(dataset)), 1)
    if lists.is_pickle(str(source), "mp4"):
        raise VideoError(source, "a pickle of frames does not tell their times; give the video")
    if addresses.is_remote(source):
        with addresses.reading(source):  # fetched here, where no timeout runs
            pass
    batch = max(1, dataset.section.batch_size // dataset.views)
    clips = file_windows(source, length, step, sampler(dataset), dataset.limits, first)
    room = (dataset.section.buffer_mb << 20) // dataset.buffer(1).nbytes
    ready = _named(source, ahead(clips, max(1, min(2 * batch, room)), dataset.section.sample_timeout))
    return _scored(network, dataset, ready, batch)


def _named(source: str | os.PathLike, clips: Iterator[Clip]) -> Iterator[Clip]:
    """The clips; every DataError names the video."""
    try:
        yield from clips
    except VideoError:
        raise
    except DataError as error:
        raise VideoError(source, error) from error


def _scored(network, dataset: ClipDataset, clips: Iterator[Clip], batch: int) -> Iterator[Window]:
    while ready := list(islice(clips, batch)):
        feed = dataset.feed(np.stack([clip.frames for clip in ready]), [])
        scores = views.probabilities(network.run, feed, dataset.section)
        for clip, row in zip(ready, scores, strict=True):
            yield Window(clip.start, clip.end, row)
