"""Clips for TSN, StNet and their like: mp4 (anything FFmpeg reads) and Kinetics pickles (video_id, label, JPEG frames).

    item -> which frames (sampling) -> only those decoded -> cropped uint8 -> [seg_num*seglen, size, size, 3]
Several views of a video (num_clips x num_crops) are read at once: [views, seg_num*seglen, size, size, 3], each frame decoded
and scaled once however many views share it. Randomness is a function of (seed, epoch, index) alone.
"""

import cv2
import numpy as np

from datareader import lists
from datareader.clips.sampling import frame_indices, segment_starts, view_starts
from datareader.clips.transforms import CropResize
from datareader.clips.video import read_frames
from storage import addresses
from storage.files import not_a_file
from utils.errors import DataError, ObjectError, VideoError
from utils.pickles.safe import load


class ClipDataset:
    """The samples of one mode. `read` gives (frames, label, id); the loader stores them in the arrays of `buffer`."""

    def __init__(self, config, mode, items, seed=0):
        self.model, self.section, self.items, self.seed = config.MODEL, config.section(mode), items, seed
        self.training, self.labelled = mode == "train", mode != "infer"
        self.segments, self.views = config.segments(mode), self.section.views
        self.clips, self.crops = (1, 1) if self.training else (self.section.num_clips, self.section.num_crops)

    @classmethod
    def from_config(cls, config, mode, seed=0):
        """The samples that the mode's `filelist` names."""
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
    def from_paths(cls, config, mode, paths):
        """Clips, or folders of clips, named on the command line."""
        return cls(config, mode, lists.find_clips(paths))

    def __len__(self):
        return len(self.items)

    def name(self, index):
        """What messages and results call a sample: its path as the list wrote it."""
        return self.items[index].name

    def shuffled(self, rng):
        """The order of an epoch."""
        return rng.permutation(len(self))

    def buffer(self, count):
        """An uninitialised array for `count` samples."""
        return np.empty((count, *self._shape), np.uint8)

    @property
    def _shape(self):
        size, views = self.section.target_size, [self.views] if self.views > 1 else []
        return *views, self.segments * self.model.seglen, size, size, 3

    def feed(self, buffer, labels):
        """What the graph is fed: frames uint8 [B, T, H, W, 3] and, where known, label int64 [B, 1]. Views of a sample are rows
        one after the other."""
        frames = buffer.reshape(-1, *self._shape[-4:])
        if not self.labelled:
            return {"frames": frames}
        return {"frames": frames, "label": np.repeat(np.asarray(labels, np.int64), self.views).reshape(-1, 1)}

    def read(self, index, epoch):
        """(frames uint8 [T, H, W, 3] or, of several views, [views, T, H, W, 3]; label or None; id). Views are clip by clip, the
        crops of each in the order of `transforms.windows`. Raises DataError for a sample that cannot be used."""
        item, rng = self.items[index], None
        if self.training:
            rng = np.random.default_rng([self.seed, epoch, index])
        crop = self._crop(rng)
        if not lists.is_pickle(item.name, self.model.format):
            return (
                self._in_views(read_frames(item.path, self._picker(rng, self.model.mp4_centre), crop)),
                item.label,
                item.name,
            )
        name, label, jpegs = read_pickle(item.path)
        if self.labelled and not 0 <= label < self.model.num_classes:
            raise VideoError(item.path, f"label '{label}' is not in 0..{self.model.num_classes - 1}")
        wanted = self._picker(rng, "clip")(len(jpegs))
        decoded = {i: crop(decode_jpeg(jpegs[i], item.path, i)) for i in dict.fromkeys(wanted)}
        return self._in_views(np.stack([decoded[i] for i in wanted])), label, name

    def _crop(self, rng):
        section, model = self.section, self.model
        drawn = (
            {"resized": section.crop == "resized", "jitter": section.colour_jitter}
            if self.training
            else {"crops": self.crops}
        )
        return CropResize(section.short_size, section.target_size, model.resize, model.resize_kernel, rng, **drawn)

    def _in_views(self, frames):
        """[clips*T, H, W, 3] or [clips*T, crops, H, W, 3] -> a sample."""
        clips = frames.reshape(self.clips, -1, self.crops, *frames.shape[-3:])
        return clips.swapaxes(1, 2).reshape(self._shape)  # of [clips, crops, T, H, W, 3]

    def _picker(self, rng, centre):
        length, interval = self.model.seglen, self.model.frame_interval
        span = length * interval
        state = rng.bit_generator.state if rng else None

        def pick(frame_count):
            if rng:
                rng.bit_generator.state = state  # a second call (exact fallback of the decoder) draws the same numbers
            if self.clips > 1:
                starts = view_starts(frame_count, self.segments, span, self.clips)
            else:
                starts = segment_starts(frame_count, self.segments, span, rng, centre)
            return frame_indices(starts, length, frame_count, interval)

        return pick


def read_pickle(path):
    """(video_id, label, [JPEG bytes]) of a Kinetics pickle, written under Python 2 or 3. Raises VideoError."""
    try:
        with addresses.reading(path) as file:
            if not file.is_file():
                raise VideoError(path, not_a_file(file))
            content = load(file, encoding="bytes", what=str(path))
    except VideoError:
        raise
    except ObjectError as error:
        raise VideoError(path, error.reason) from error
    except DataError as error:
        raise VideoError(path, str(error)) from error
    if not isinstance(content, tuple | list) or len(content) != 3 or not isinstance(content[2], list | tuple):
        raise VideoError(
            path,
            f"expected a (video_id, label, frames) tuple, found {type(content).__name__}; "
            "YouTube-8M feature pickles belong to the feature models",
        )
    name, label, frames = content
    if not frames:
        raise VideoError(path, "frame length 0 less than 1")
    if not isinstance(label, int | np.integer) or not all(isinstance(frame, bytes) for frame in frames):
        raise VideoError(path, "expected an integer label and frames that are encoded images (bytes)")
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name), int(label), frames


def decode_jpeg(data, path, index):
    """Encoded image -> RGB uint8 [H, W, 3]. Raises VideoError."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if image is None:
        raise VideoError(path, f"frame {index} is not a readable image")
    return image
