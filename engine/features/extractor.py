"""Features of clips: frames -> windows -> a clip model without its classifier -> one row of features a window.

    path -> which windows (datareader/clips/sampling.py) -> their frames, each decoded once -> rows float16 [n, width]

A clip is computed on its own, so that its rows do not depend on the clips beside it.
"""

import logging
import math
import os
import threading
import weakref

import numpy as np

from datareader import lists
from datareader.clips import video
from datareader.clips.limits import Limits
from datareader.clips.pickles import decode_image, read_pickle
from datareader.clips.sampling import frame_indices, window_starts
from datareader.clips.transforms import CropResize
from engine.export import memory
from engine.features import settings
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.weights import load as weight_files
from models.layers.parts import Embedding
from utils.config.features import ExtractorSection
from utils.errors import DataError, VideoError, WeightsError

__all__ = ["FRAMES_AT_ONCE", "Extractor", "shared"]

log = logging.getLogger("zoo")

FRAMES_AT_ONCE = 4  # that the network sees in one run: on a CPU, larger batches take twice the time a frame
FRAMES_AT_ONCE_GPU = 64
HELD_BYTES = 128 << 20  # of decoded frames; a longer clip is read in parts
RATE = 25.0  # frames a second where a file does not tell
LEAST = (16, 4)  # rows of a short clip by default: of single frames, of windows

_shared: "weakref.WeakValueDictionary[str, Extractor]" = weakref.WeakValueDictionary()
_making = threading.Lock()


class Extractor:
    """The network of an EXTRACTOR section. `rows(path)` may be called by several threads.

    Raises ConfigError, WeightsError.
    """

    def __init__(self, section: ExtractorSection, use_gpu: bool = False, engine: str = "auto"):
        settings.require(section)
        self.section, whole = section, settings.clip_model(section)
        self.at_once = FRAMES_AT_ONCE_GPU if use_gpu else FRAMES_AT_ONCE
        source, rule = settings.weights_of(section)
        self.model, self.read = whole.settings, whole.config.INFER
        self.embedding = Embedding(whole)
        device = Device(use_gpu, whole.onednn)
        graph = Graph(self.embedding, segments=1)
        device.initialise(graph)
        report = weight_files.load_into(rule, device, graph, whole, source)
        if report.missing:
            raise WeightsError(f"weights '{source}' lack {len(report.missing)} tensors of {whole.name}: they give none")
        choice = memory.choose(engine, "auto", whole, use_gpu)
        if choice:
            program = memory.FoldedProgram(self.embedding, device.get(graph.shapes), choice, segments=1)
            self._run = program.run
        else:
            self._run = lambda feed: device.scores(graph, feed)
        self.limits = Limits.of(self.model)

    @property
    def width(self) -> int:
        """Values of a row."""
        return self.embedding.width

    def rows(self, path: str | os.PathLike) -> np.ndarray:
        """The features of a clip, float16 [n, width]. Raises DataError."""
        if lists.is_pickle(path, "mp4"):
            return self._of_pickle(path)
        rate = video.header(path, self.limits)[1] if self.section.rows is None else 0.0
        first, parts = 0, []
        while True:
            chosen = _Chosen(self._starts, first, self._at_once, rate or RATE, self.model)
            frames = video.read_frames(path, chosen, self._crop(), self.limits)
            parts.append(self._features(frames))
            first += self._at_once
            if first >= chosen.count:
                return self._checked(np.concatenate(parts), path)

    def of_frames(self, frames: np.ndarray, called: object) -> np.ndarray:
        """The rows of frames uint8 [n*seglen, H, W, 3], scaled already; `called` is their name in messages."""
        return self._checked(self._features(frames), called)

    def _of_pickle(self, path):
        if self.section.rows is None:
            raise VideoError(path, "a pickle of frames does not tell their times; give EXTRACTOR.rows (--rows)")
        _, _, images = read_pickle(path)
        wanted = _Chosen(self._starts, 0, self.section.rows, RATE, self.model)(len(images))
        crop = self._crop()
        frames = {i: crop(decode_image(images[i], path, i, self.limits)) for i in dict.fromkeys(wanted)}
        return self.of_frames(np.stack([frames[i] for i in wanted]), path)

    def _starts(self, count, rate):
        section, span = self.section, self.model.seglen * self.model.frame_interval
        least = section.least or LEAST[self.model.seglen > 1]
        return window_starts(count, count / rate, span, section.every, section.rows, least)

    @property
    def _at_once(self):
        """Windows whose frames are held at a time."""
        frame = 3 * self.read.target_size**2
        return max(1, HELD_BYTES // (frame * self.model.seglen))

    def _crop(self):
        model = self.model
        return CropResize(self.read.short_size, self.read.target_size, model.resize, model.resize_kernel)

    def _features(self, frames):
        """Frames uint8 [n*seglen, H, W, 3] -> float32 [n, width], a few windows at a time."""
        length = self.model.seglen
        windows = frames.reshape(-1, length, *frames.shape[1:])
        size = max(1, self.at_once // length)
        pieces = [windows[i : i + size] for i in range(0, len(windows), size)]
        return np.concatenate([self._run({"frames": np.ascontiguousarray(piece)})[1] for piece in pieces])

    @staticmethod
    def _checked(rows, path):
        if not np.isfinite(rows).all():
            raise DataError(f"'{path}': its features are not finite numbers: the extractor's weights are damaged")
        limit = float(np.finfo(np.float16).max)
        return np.clip(rows, -limit, limit).astype(np.float16)


class _Chosen:
    """Which frames are read for the windows from `first` on; `count` is then the number of all windows."""

    def __init__(self, starts, first, most, rate, model):
        self.starts, self.first, self.most, self.rate = starts, first, most, rate
        self.length, self.interval, self.count = model.seglen, model.frame_interval, math.inf

    def __call__(self, frame_count):
        starts = self.starts(frame_count, self.rate)
        self.count = len(starts)
        return frame_indices(starts[self.first : self.first + self.most], self.length, frame_count, self.interval)


def shared(section: ExtractorSection, use_gpu: bool = False) -> Extractor:
    """The Extractor of a section; one serves all who hold it at a time."""
    key = f"{settings.identity(section)} {section.weights} {use_gpu}"
    with _making:
        found = _shared.get(key)
        if found is None:
            found = _shared[key] = Extractor(section, use_gpu)
        return found
