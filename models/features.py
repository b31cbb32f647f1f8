"""Shared by the YouTube-8M models: frame features in, independent scores of many classes out.

Quantised features are read as the uint8 they are stored in and dequantised in the graph. Videos of different length
stand in one batch; `length` says how many frames are real. The padding may hold any numbers and must not change a
result.
"""

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from models.base import Arrays, Model, Tensor
from models.layers import options
from models.layers.named import mean_of_batch
from utils.config.features import FeatureConfig
from utils.errors import DataError


def dequantise(x: Tensor, offset: float = 4.0 / 512.0 - 2.0) -> Tensor:
    """uint8 features -> x*4/255 + offset, of Paddle's default dtype (YouTube-8M starter code)."""
    return paddle.cast(x, paddle.get_default_dtype()) * (4.0 / 255.0) + offset


def real_frames(x: Tensor, length: Tensor) -> Tensor:
    """Mask bool [B, T] of the frames of x [B, T, D] that are not padding; `length` int64 [B]."""
    index = paddle.arange(paddle.shape(x)[1], dtype="int64")
    return index < paddle.unsqueeze(length, 1)


def _weights(x: Tensor, length: Tensor | None) -> Tensor:
    """1 for real frames and 0 for padding, [B, T, 1]; all frames are real where `length` is None."""
    mask = paddle.ones_like(x[:, :, :1]) if length is None else paddle.unsqueeze(real_frames(x, length), 2)
    return paddle.cast(mask, x.dtype)


def centred(x: Tensor, length: Tensor | None) -> Tensor:
    """x [B, T, D] minus its mean over the real frames: what changes within a video."""
    weights = _weights(x, length)
    return (x - (x * weights).sum(axis=1, keepdim=True) / weights.sum(axis=1, keepdim=True)) * weights


def differences(x: Tensor, length: Tensor | None) -> Tensor:
    """x [B, T, D] -> each frame minus the one before it, zeros for the first frame: they know the order."""
    weights = _weights(x, length)
    before = paddle.concat([x[:, :1], x[:, :-1]], axis=1)
    return (x - before) * weights


def l2_normalize(x: Tensor, axis: int) -> Tensor:
    """x / sqrt(sum(x^2) + 1e-12): the epsilon is under the root, unlike in `F.normalize` (old zoo v1.3)."""
    x = options.to_float32(x)
    return x * paddle.rsqrt(paddle.sum(x * x, axis=axis, keepdim=True) + 1e-12)


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Dropout as in old zoo v1.3: training masks without rescaling, evaluation multiplies by 1 - rate."""
    return F.dropout(x, rate, training=training, mode="downscale_in_infer") if rate else x


class FeatureModel(Model):
    """Models on features.

    Inputs: `rgb` [B, T, 1024] and `audio` [B, T, 128] (or of other widths), as uint8 or float, and `length` [B] where T
    varies.
    """

    data = "features"
    config_class = FeatureConfig
    frames: int | None = None  # rows that every video is resampled to; None: videos of any length

    def inputs(self, raw: bool) -> dict[str, Tensor]:
        dtype = "uint8" if raw and self.quantised else paddle.get_default_dtype()
        inputs = {
            name: paddle.static.data(name, [None, self.frames, size], dtype)
            for name, size in self.settings.features.items()
        }
        if self.frames is None:
            inputs["length"] = paddle.static.data("length", [None], "int64")
        return inputs

    @property
    def quantised(self) -> bool:
        """Whether the reader delivers uint8."""
        return self.settings.feature_type == "uint8"

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Dequantise every feature that is quantised."""
        keep = () if self.quantised else tuple(inputs)
        return {name: x if name in ("length", *keep) else dequantise(x) for name, x in inputs.items()}

    def streams(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The network's inputs {name: [B, T, D]} that MODEL.inputs names, the derived ones computed."""
        return {name: self._stream(name, inputs) for name in self.settings.streams}

    def _stream(self, name, inputs):
        if name == "centred":
            return centred(inputs["rgb"], inputs.get("length"))
        if name == "difference":
            return differences(inputs["rgb"], inputs.get("length"))
        return inputs[name]

    def interface(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        """{name: one array [frames, dimensions] per video}: all uint8 as stored, or all float (dequantised)."""
        videos = {name: [np.asarray(video) for video in arrays.get(name, [])] for name in self.settings.features}
        self._check(arrays, videos)
        raw = all(video.dtype == np.uint8 for feature in videos.values() for video in feature)
        if raw and not self.quantised:
            raise DataError("features are uint8, and MODEL.feature_type is 'float'; give float arrays (dequantised)")
        chosen = {
            name: [self.chosen(video[: self.settings.max_frames]) for video in feature]
            for name, feature in videos.items()
        }
        lengths = [len(video) for video in next(iter(chosen.values()))]
        feed = {} if self.frames else {"length": np.array(lengths, np.int64)}
        for name, feature in chosen.items():
            feed[name] = np.zeros(
                (len(lengths), max(lengths), self.settings.features[name]), np.uint8 if raw else np.float32
            )
            for row, video in zip(feed[name], feature, strict=True):
                row[: len(video)] = video
        return {"raw": raw}, feed

    def _check(self, arrays: dict[str, Any], videos: dict[str, list[np.ndarray]]) -> None:
        """DataError unless every feature has the same videos, of its own width, in one of the two types."""
        sizes = self.settings.features
        if set(arrays) != set(sizes) or len({len(feature) for feature in videos.values()} | {0}) != 2:
            raise DataError(
                f"expected as many videos of each of {', '.join(map(repr, sizes))}, found "
                f"{ {name: len(feature) for name, feature in arrays.items()} }"
            )
        for i, features in enumerate(zip(*videos.values(), strict=True)):
            shapes = {name: list(video.shape) for name, video in zip(sizes, features, strict=True)}
            frames = len(features[0]) if features[0].ndim else 0
            if not frames or shapes != {name: [frames, size] for name, size in sizes.items()}:
                raise DataError(
                    f"video {i} has features of shapes {shapes}; expected [frames, {list(sizes.values())}], "
                    "at least one frame"
                )
        types = {str(video.dtype) for feature in videos.values() for video in feature}
        if types != {"uint8"} and not types <= {"float16", "float32", "float64"}:
            raise DataError(
                f"features are {', '.join(sorted(types))}; expected all uint8 (as stored), or all float (dequantised)"
            )

    def chosen(self, video: np.ndarray) -> np.ndarray:
        """The frames of a video [frames, dimensions] that the network sees."""
        return video

    def label(self) -> Tensor:
        """Multi-hot [B, classes], of the network's float type."""
        return paddle.static.data("label", [None, self.settings.num_classes], paddle.get_default_dtype())

    def probabilities(self, logits: Tensor) -> Tensor:
        return F.sigmoid(logits)

    def losses(self, logits: Tensor, label: Tensor) -> Tensor:
        """Sigmoid cross entropy of each video [B], summed over the classes."""
        return F.binary_cross_entropy_with_logits(logits, label, reduction="none").sum(axis=1)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Sigmoid cross entropy, summed over the classes, mean over the batch (old zoo v1.3)."""
        return mean_of_batch(self.losses(logits, label), self.mode == "train")

    def rate(self, step: int, steps_per_epoch: int) -> float:
        return self.config.TRAIN.learning_rate

    def optimizer(self, rate: paddle.optimizer.lr.LRScheduler) -> paddle.optimizer.Optimizer:
        """Adam (old zoo v1.3), with decoupled weight decay where TRAIN.weight_decay asks for it."""
        adam = {"learning_rate": rate, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
        decay = self.config.TRAIN.weight_decay
        return paddle.optimizer.AdamW(weight_decay=decay, **adam) if decay else paddle.optimizer.Adam(**adam)
