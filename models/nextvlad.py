"""NeXtVLAD (Lin et al., ECCV 2018 workshops, arXiv 1811.05014): frames as sums of distances from learned centres.

Each frame is widened and split into groups, and each group is assigned to the clusters on its own. The sum over time is
smaller than NetVLAD's. Names and details (a batch norm of the sum, the order of its elements) follow old zoo v1.3.
"""

import logging
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import Constant, KaimingNormal
from paddle.regularizer import L2Decay
from pydantic import Field, model_validator

from models.base import Arrays, ReadArray, Tensor
from models.features import FeatureModel, dequantise, dropout, l2_normalize, real_frames
from models.layers import options
from models.layers.named import counted_batch_norm, linear, parameter
from utils.config.features import FeatureConfig, FeatureModelSection, FeatureTrainSection
from utils.errors import ConfigError

log = logging.getLogger("zoo")

EIGENVALUES = "./dataset/youtube8m/yt8m_pca/eigenvals.npy"  # where dataset/youtube8m/README.md puts them
EIGEN_HINT = (
    "dataset/youtube8m/README.md says where to get it; set it to none for features that are not whitened, "
    "or for weights that contain eigen_param"
)


class NextvladSection(FeatureModelSection):
    feature_dims: list[int] | None = Field(
        None, description="dimensions of each feature; none: video_feature_size and audio_feature_size"
    )
    segments: int = Field(1, ge=1, le=1000, description="ordered parts that are pooled on their own")
    video_feature_size: int = Field(1024, ge=1, description="dimensions of the image features")
    audio_feature_size: int = Field(128, ge=1, description="dimensions of the audio features")
    cluster_size: int = Field(128, ge=1, description="clusters of each feature")
    hidden_size: int = Field(2048, ge=1, description="width of the layer before the classifier")
    groups: int = Field(8, ge=1, description="groups that a widened frame is split into")
    expansion: int = Field(2, ge=1, description="factor by which frames are widened")
    gating_reduction: int = Field(
        8, ge=1, description="factor by which the gate's middle layer is narrower than hidden_size"
    )
    eigen_file: str | None = Field(
        EIGENVALUES,
        description="eigenvalues of the features' PCA, where weights bring none; "
        "auto: the usual file if it is there; none: ones",
    )

    @model_validator(mode="after")
    def _groups_fit(self):
        if self.feature_dims and len(self.feature_dims) != len(self.feature_names):
            raise ValueError(f"feature_dims {self.feature_dims} and feature_names {self.feature_names} do not agree")
        if "rgb" not in self.feature_names:
            raise ValueError(f"feature_names {self.feature_names}: NEXTVLAD needs rgb")
        for name, size in self.features.items():
            if size * self.expansion % self.groups:
                raise ValueError(
                    f"groups {self.groups} does not divide the {size * self.expansion} dimensions "
                    f"of a widened {name} frame"
                )
        if self.gating_reduction > self.hidden_size:
            raise ValueError(f"gating_reduction {self.gating_reduction} is more than hidden_size {self.hidden_size}")
        return self

    @property
    def features(self) -> dict[str, int]:
        sizes = {"rgb": self.video_feature_size, "audio": self.audio_feature_size}
        if self.feature_dims:
            sizes |= dict(zip(self.feature_names, self.feature_dims, strict=True))
        return {name: sizes[name] for name in self.feature_names}


class NextvladTrainSection(FeatureTrainSection):
    retired: ClassVar[dict] = {**FeatureTrainSection.retired, "gradient_clip_norm": "it never had an effect"}
    learning_rate: float = Field(0.0002, gt=0, description="base learning rate")
    learning_rate_decay: float = Field(
        0.8, gt=0, description="factor on the rate after every lr_boundary_examples videos"
    )
    lr_boundary_examples: int = Field(2000000, ge=1, description="videos between two falls of the rate")
    max_iter: int = Field(700000, ge=1, description="step from which the rate stays constant")
    l2_penalty: float = Field(1e-5, ge=0, description="L2 on the classifier")

    @model_validator(mode="after")
    def _boundary_fits(self):
        if self.lr_boundary_examples < self.batch_size:
            raise ValueError(
                f"lr_boundary_examples {self.lr_boundary_examples} is less than one batch ({self.batch_size}); raise it"
            )
        return self


class NextvladConfig(FeatureConfig):
    MODEL: NextvladSection = Field(default_factory=NextvladSection)
    TRAIN: NextvladTrainSection = Field(default_factory=NextvladTrainSection)


def weight(name: str, *shape: int) -> Tensor:
    return parameter(name, shape, KaimingNormal())


def zeros(name: str, size: int) -> Tensor:
    return parameter(name, [size], Constant(0.0))


def padded(values: Tensor, rows: Tensor, mask: Tensor, channels: int) -> Tensor:
    """Values [N, ...] of the real frames -> [B, T * groups, channels], zeros where `mask` [B, T] has padding."""
    values = paddle.flatten(values, 1)
    blank = paddle.zeros([paddle.numel(mask), values.shape[1]], values.dtype)
    return paddle.reshape(paddle.scatter(blank, rows, values), [paddle.shape(mask)[0], -1, channels])


def nextvlad_layer(
    x: Tensor,
    rows: Tensor,
    mask: Tensor,
    name: str,
    norms: Sequence[str],
    clusters: int,
    groups: int,
    expansion: int,
    segments: int,
    training: bool,
) -> Tensor:
    """NeXtVLAD layer (section 3): x [B, T, D] -> [B, segments * expansion*D/groups * clusters].

    `rows` [N] are the indices of the real frames in x [B*T, D]: the batch norm sees only these.
    `norms` are the names of its batch norm and of that of the sum. Each of the `segments` ordered parts of a video has
    a sum of its own.
    """
    size = x.shape[2]
    wide, part = expansion * size, expansion * size // groups
    x = paddle.gather(paddle.reshape(x, [-1, size]), rows)  # [N, D]
    x = linear(x, weight(f"{name}_fc_expansion_w", size, wide), zeros(f"{name}_fc_expansion_b", wide))
    attention = F.sigmoid(
        linear(x, weight(f"{name}_fc_group_attention_w", wide, groups), zeros(f"{name}_fc_group_attention_b", groups))
    )
    assignment = options.matmul(x, weight(f"{name}_cluster_weights", wide, groups * clusters))
    assignment = counted_batch_norm(assignment, norms[0], training)
    assignment = F.softmax(paddle.reshape(assignment, [-1, groups, clusters]))
    assignment = padded(assignment * paddle.unsqueeze(attention, 2), rows, mask, clusters)
    centres = weight(f"{name}_cluster_weights2", clusters, part)
    x, sums = padded(x, rows, mask, part), []
    for inside in in_parts(mask, groups, segments):
        weights = assignment if inside is None else assignment * inside
        vlad = options.matmul(x, weights, transpose_x=True)  # [B, part, clusters]
        vlad = vlad - weights.sum(axis=1, keepdim=True) * paddle.transpose(centres, [1, 0])
        sums.append(paddle.reshape(l2_normalize(vlad, axis=1), [-1, part * clusters]))
    return counted_batch_norm(sums[0] if segments == 1 else paddle.concat(sums, axis=1), norms[1], training)


def in_parts(mask: Tensor, groups: int, segments: int) -> list[Tensor | None]:
    """For each ordered part of the videos, 1 for its frames and 0 for others [B, T*groups, 1]; None for all frames."""
    if segments == 1:
        return [None]
    real = paddle.cast(mask, "int64")
    position, length = real.cumsum(axis=1) - 1, real.sum(axis=1, keepdim=True)
    number = paddle.unsqueeze(position * segments // length, 2)  # [B, T, 1]
    number = paddle.reshape(paddle.tile(number, [1, 1, groups]), [paddle.shape(mask)[0], -1, 1])
    return [paddle.cast(number == each, paddle.get_default_dtype()) for each in range(segments)]


def norms_of(stream: str) -> tuple[str, str]:
    """Names of the two batch norms of an input; the old zoo had counted those of its own."""
    return {"rgb": ("batch_norm_0", "batch_norm_1"), "audio": ("batch_norm_2", "batch_norm_3")}.get(
        stream, (f"{stream}_norm_0", f"{stream}_norm_1")
    )


def gated(x: Tensor, reduction: int, training: bool) -> Tensor:
    """Context gating: [B, H] -> [B, H], each element scaled by a gate that is computed from all of them."""
    size = x.shape[1]
    gate = options.matmul(x, weight("gating_fc1_weights", size, size // reduction))
    gate = F.relu(counted_batch_norm(gate, "batch_norm_5", training))
    return x * F.sigmoid(options.matmul(gate, weight("gating_fc2_weights", size // reduction, size)))


def nextvlad(
    streams: dict[str, Tensor], length: Tensor, settings: NextvladSection, l2_penalty: float, training: bool
) -> Tensor:
    """streams {name: [B, T, D]}, length int64 [B] -> logits [B, classes]; `settings` is the section MODEL."""
    mask = real_frames(next(iter(streams.values())), length)
    rows = paddle.flatten(paddle.nonzero(paddle.reshape(mask, [-1])))  # [N]
    layer = settings.cluster_size, settings.groups, settings.expansion, settings.segments, training
    pooled = [
        nextvlad_layer(x, rows, mask, {"rgb": "video"}.get(name, name), norms_of(name), *layer)
        for name, x in streams.items()
    ]
    x = dropout(paddle.concat(pooled, axis=1), settings.drop_rate, training)
    x = options.matmul(x, weight("hidden1_fc_weights", x.shape[1], settings.hidden_size))
    x = gated(counted_batch_norm(x, "batch_norm_4", training), settings.gating_reduction, training)
    decay = L2Decay(l2_penalty)
    return linear(
        x,
        parameter("logits_clf_weights", [settings.hidden_size, settings.num_classes], KaimingNormal(), decay=decay),
        parameter("logits_clf_bias", [settings.num_classes], Constant(0.0), decay=decay),
    )


def eigen_scale(values: np.ndarray, size: int, path: str) -> np.ndarray:
    """Factors that undo the whitening of the first `size` PCA components: sqrt(eigenvalue) + 1e-4, float32 [size].

    `values`: Google's eigenvals.npy, float32 [2048, 1], read from `path`. Raises ConfigError.
    """
    if values.dtype.kind not in "fiu" or values.ndim != 2 or len(values) < size or not values.shape[1]:
        raise ConfigError(
            f"MODEL.eigen_file '{path}' has {values.dtype} {list(values.shape)}; expected at least {size} rows of one "
            f"number; {EIGEN_HINT}"
        )
    column = values[:size, 0].astype(np.float64)
    wrong = column[~(np.isfinite(column) & (column >= 0))]
    if len(wrong):
        raise ConfigError(
            f"MODEL.eigen_file '{path}' holds the eigenvalue '{wrong[0]}'; expected finite ones, none negative; "
            f"{EIGEN_HINT}"
        )
    return np.sqrt(column).astype(np.float32) + np.float32(1e-4)


class NEXTVLAD(FeatureModel):
    name = "NEXTVLAD"
    slug = "nextvlad"
    title = "NeXtVLAD: frames by groups, as sums of distances from learned centres"
    config_class = NextvladConfig
    head = ("logits_clf",)
    optional = ("eigen_param",)

    def constants(self, read: ReadArray) -> Arrays:
        """`eigen_param` from MODEL.eigen_file: weights of v1.3 and v1.4 lack it (their reader applied it)."""
        path, size = self.settings.eigen_file, self.settings.features["rgb"]
        if path is None or path.lower() == "none" or not self.quantised and path.lower() == "auto":
            return {"eigen_param": np.ones(size, np.float32)}
        usual = path.lower() == "auto"
        path = EIGENVALUES if usual else path
        values = read("MODEL.eigen_file", path, EIGEN_HINT)
        if values is not None:
            return {"eigen_param": eigen_scale(values, size, path)}
        if not usual:
            raise ConfigError(f"MODEL.eigen_file '{path}' does not exist; {EIGEN_HINT}")
        log.warning(
            "no file '%s' of eigenvalues: features are used whitened, as YouTube-8M publishes them, in training and in "
            "test alike; only weights of the first zoo that hold no eigen_param need that file",
            EIGENVALUES,
        )
        return {"eigen_param": np.ones(size, np.float32)}

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Dequantise, and undo the whitening of rgb, whose offset is 2 (old zoo v1.5)."""
        scale = parameter("eigen_param", [self.settings.features["rgb"]], Constant(1.0), trainable=False)
        rgb = dequantise(inputs["rgb"], -2.0) if self.quantised else inputs["rgb"]
        return {**super().prepare(inputs), "rgb": rgb * scale}

    def network(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        return nextvlad(self.streams(inputs), inputs["length"], self.settings, self.config.TRAIN.l2_penalty, training)

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Base rate, times `learning_rate_decay` after every lr_boundary_examples // batch_size steps (old zoo v1.3).

        It falls no further from max_iter on.
        """
        train = self.config.TRAIN
        between = train.lr_boundary_examples // train.batch_size
        return train.learning_rate * train.learning_rate_decay ** min(step // between, (train.max_iter - 1) // between)
