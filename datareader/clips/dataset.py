"""Clips for TSN, StNet and the like: mp4 (anything FFmpeg reads) and Kinetics pickles (video_id, label, JPEG frames).

    item -> which frames (sampling) -> only those decoded -> cropped uint8 -> [seg_num*seglen, size, size, 3]

Several views of a video (num_clips x num_crops) are read at once: [views, seg_num*seglen, size, size, 3]. Each frame is
decoded and scaled once, however many views share it. Randomness is a function of (seed, epoch, index) alone.
"""

import contextlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Self

import numpy as np

from datareader import lists
from datareader.clips.limits import Limits
from datareader.clips.pickles import decode_image, read_pickle
from datareader.clips.sampling import frame_indices, segment_starts, view_starts
from datareader.clips.transforms import CropResize
from datareader.clips.video import header, read_frames
from datareader.names import read_names
from storage import addresses
from utils.config.clips import ClipConfig
from utils.errors import ConfigError, VideoError, nearest

__all__ = ["ClipDataset", "mirrored_labels"]

HEADERS = 100  # that are opened for the mean length of clips


class ClipDataset:
    """The samples of one mode. `read` gives (frames, label, id); the loader stores them in the arrays of `buffer`."""

    def __init__(self, config: ClipConfig, mode: str, items: Sequence[lists.Item], seed: int = 0) -> None:
        self.model, self.section = config.MODEL, config.section(mode)
        self.items, self.seed = items, seed
        self.training, self.labelled = mode == "train", mode != "infer"
        self.segments, self.views = config.segments(mode), self.section.views
        self.clips, self.crops = (1, 1) if self.training else (self.section.num_clips, self.section.num_crops)
        self.limits = Limits.of(config.MODEL)
        self.mirrored = mirrored_labels(config) if self.training else {}

    @classmethod
    def from_config(cls, config: ClipConfig, mode: str, seed: int = 0) -> Self:
        """The samples that the mode's `filelist` names. Raises DataError."""
        section = config.section(mode)
        items = lists.read_clip_list(
            section.filelist,
            f"{mode.upper()}.filelist",
            config.MODEL.num_classes,
            labelled=mode != "infer",
            data_root=section.data_root,
            fallback=config.MODEL.format,
        )
        return cls(config, mode, items, seed)

    @classmethod
    def from_paths(cls, config: ClipConfig, mode: str, paths: Sequence[str]) -> Self:
        """Clips, or folders of clips, named on the command line. Raises DataError."""
        return cls(config, mode, lists.find_clips(paths))

    def __len__(self) -> int:
        return len(self.items)

    @cached_property
    def clip_seconds(self) -> float | None:
        """Mean length by the headers of up to 100 clips, spread over the list; None if none is a video on this disk."""
        local = [item for item in self.items if not addresses.is_remote(item.path)]
        clips = [item.path for item in local if not lists.is_pickle(item.name, self.model.format)]
        found = []
        for place in np.linspace(0, len(clips) - 1, min(HEADERS, len(clips))).astype(int):
            with contextlib.suppress(VideoError):
                found.append(header(clips[place], self.limits)[0])
        found = [seconds for seconds in found if seconds]
        return round(sum(found) / len(found), 3) if found else None

    def name(self, index: int) -> str:
        """The path of a sample as the list wrote it, for messages and results."""
        return self.items[index].name

    def shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """Indices of all samples, in the order of an epoch."""
        return rng.permutation(len(self))

    def buffer(self, count: int) -> np.ndarray:
        """An uninitialised array for `count` samples."""
        return np.empty((count, *self._shape), np.uint8)

    @property
    def _shape(self) -> tuple[int, ...]:
        size, views = self.section.target_size, [self.views] if self.views > 1 else []
        return *views, self.segments * self.model.seglen, size, size, 3

    def feed(self, buffer: np.ndarray, labels: Sequence[int]) -> dict[str, np.ndarray]:
        """What the graph is fed: frames uint8 [B, T, H, W, 3] and, if known, label int64 [B, 1].

        The views of a sample are consecutive rows.
        """
        frames = buffer.reshape(-1, *self._shape[-4:])
        if not self.labelled:
            return {"frames": frames}
        return {"frames": frames, "label": np.repeat(np.asarray(labels, np.int64), self.views).reshape(-1, 1)}

    def read(self, index: int, epoch: int) -> tuple[np.ndarray, int | None, str]:
        """(frames, label or None, id) of one sample. Raises DataError if it cannot be used.

        frames: uint8 [T, H, W, 3] or, of several views, [views, T, H, W, 3]: clip by clip, the crops of each clip in
        the order of `transforms.windows`.
        """
        item, rng = self.items[index], None
        if self.training:
            rng = np.random.default_rng([self.seed, epoch, index])
        crop = self.crop(rng)
        if not lists.is_pickle(item.name, self.model.format):
            frames = read_frames(item.path, self.picker(rng, self.model.mp4_centre), crop, self.limits)
            return self.in_views(frames), self._label(item.label, crop), item.name
        name, label, images = read_pickle(item.path)
        if self.labelled and not 0 <= label < self.model.num_classes:
            raise VideoError(item.path, f"label '{label}' is not in 0..{self.model.num_classes - 1}")
        wanted = self.picker(rng, "clip")(len(images))
        decoded = {i: crop(decode_image(images[i], item.path, i, self.limits)) for i in dict.fromkeys(wanted)}
        return self.in_views(np.stack([decoded[i] for i in wanted])), self._label(label, crop), name

    def _label(self, label: int | None, crop: CropResize) -> int | None:
        """The label of a clip as it was cut: mirrored clips may have another."""
        return self.mirrored.get(label, label) if self.mirrored and crop.flipped else label

    def crop(self, rng: np.random.Generator | None) -> CropResize:
        """A new geometry for the frames of one size. `rng`: draws it in training, else None."""
        section, model = self.section, self.model
        if self.training:
            drawn = {"resized": section.crop == "resized", "jitter": section.colour_jitter, "flip": bool(section.flip)}
        else:
            drawn = {"crops": self.crops}
        return CropResize(section.short_size, section.target_size, model.resize, model.resize_kernel, rng, **drawn)

    def in_views(self, frames: np.ndarray) -> np.ndarray:
        """[clips*T, H, W, 3] or [clips*T, crops, H, W, 3], of the frames that `picker` picked -> a sample."""
        clips = frames.reshape(self.clips, -1, self.crops, *frames.shape[-3:])  # [clips, T, crops, H, W, 3]
        return clips.swapaxes(1, 2).reshape(self._shape)

    def picker(self, rng: np.random.Generator | None, centre: str) -> Callable[[int], list[int]]:
        """From a video's number of frames to the indices of those that a sample holds; `centre`: see sampling.py."""
        length, interval = self.model.seglen, self.model.frame_interval
        span = length * interval
        state = rng.bit_generator.state if rng else None

        def pick(frame_count: int) -> list[int]:
            if rng:
                rng.bit_generator.state = state  # a second call, which the decoder may make, draws the same numbers
            if self.clips > 1:
                starts = view_starts(frame_count, self.segments, span, self.clips)
            else:
                starts = segment_starts(frame_count, self.segments, span, rng, centre)
            return frame_indices(starts, length, frame_count, interval)

        return pick


def mirrored_labels(config: ClipConfig) -> dict[int, int]:
    """{label: label of its mirrored clips} that TRAIN.flip gives by names: {left: right} goes both ways.

    Raises ConfigError for a name that is not one of MODEL.class_names, or that has two counterparts; DataError.
    """
    pairs = config.TRAIN.flip
    if not isinstance(pairs, dict):
        return {}
    if not config.MODEL.class_names:
        raise ConfigError(f"TRAIN.flip '{pairs}' names classes: set MODEL.class_names to the file of their names")
    names = read_names(config.MODEL.class_names)
    found: dict[int, int] = {}
    for pair in pairs.items():
        for name, other in (pair, pair[::-1]):
            if name not in names:
                guess = nearest(name, names)
                hint = f"; did you mean '{guess}'?" if guess else ""
                raise ConfigError(f"TRAIN.flip '{name}': no class of '{config.MODEL.class_names}' is called so{hint}")
            label = names.index(other) if other in names else None
            if found.setdefault(names.index(name), label) != label:
                raise ConfigError(
                    f"TRAIN.flip '{name}': it has two counterparts; give one class for its mirrored clips"
                )
    return found
