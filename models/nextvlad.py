"""NeXtVLAD (Lin et al., ECCV 2018 workshops, arXiv 1811.05014): frames described by their distance from learned centres.

Each frame is widened and split into groups that are assigned to the clusters one by one, which makes the sum over time
smaller than NetVLAD's. Names and details (a batch norm of the sum, the order of its elements) are those of old zoo v1.3.
"""

from typing import ClassVar

import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import Assign, Constant, KaimingNormal
from paddle.regularizer import L2Decay
from pydantic import Field, model_validator

from models.features import FeatureModel, dequantise, dropout, l2_normalize, real_frames
from models.layers import precision
from models.layers.named import counted_batch_norm, linear, parameter
from utils.config.features import FeatureConfig, FeatureModelSection, FeatureTrainSection, read_eigenvalues


class NextvladSection(FeatureModelSection):
    video_feature_size: int = Field(1024, ge=1, description="dimensions of the image features")
    audio_feature_size: int = Field(128, ge=1, description="dimensions of the sound features")
    cluster_size: int = Field(128, ge=1, description="clusters of each feature")
    hidden_size: int = Field(2048, ge=1, description="width of the layer before the classifier")
    groups: int = Field(8, ge=1, description="groups that a widened frame is split into")
    expansion: int = Field(2, ge=1, description="factor by which frames are widened")
    gating_reduction: int = Field(
        8, ge=1, description="factor by which the gate's middle layer is narrower than hidden_size"
    )
    eigen_file: str | None = Field(
        "./dataset/youtube8m/yt8m_pca/eigenvals.npy",
        description="eigenvalues of the features' PCA, where weights bring none; none: not whitened",
    )

    @model_validator(mode="after")
    def _groups_fit(self):
        for name, size in self.features.items():
            if size * self.expansion % self.groups:
                raise ValueError(
                    f"groups {self.groups} does not divide the {size * self.expansion} dimensions of a widened {name} frame"
                )
        if self.gating_reduction > self.hidden_size:
            raise ValueError(f"gating_reduction {self.gating_reduction} is more than hidden_size {self.hidden_size}")
        return self

    @property
    def features(self):
        return {"rgb": self.video_feature_size, "audio": self.audio_feature_size}


class NextvladTrainSection(FeatureTrainSection):
    retired: ClassVar[dict] = {**FeatureTrainSection.retired, "gradient_clip_norm": "it never had an effect"}
    learning_rate: float = Field(0.0002, gt=0, description="base learning rate")
    learning_rate_decay: float = Field(
        0.8, gt=0, description="factor on the rate after every lr_boundary_examples videos"
    )
    lr_boundary_examples: int = Field(2000000, ge=1, description="videos between two falls of the rate")
    max_iter: int = Field(700000, ge=1, description="step from which the rate falls no further")
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


def weight(name, *shape):
    return parameter(name, shape, KaimingNormal())


def zeros(name, size):
    return parameter(name, [size], Constant(0.0))


def padded(values, rows, mask, channels):
    """Per-frame values [N, ...] of the real frames -> [B, T * groups, channels], zeros where `mask` [B, T] has padding."""
    values = paddle.flatten(values, 1)
    blank = paddle.zeros([paddle.numel(mask), values.shape[1]], values.dtype)
    return paddle.reshape(paddle.scatter(blank, rows, values), [paddle.shape(mask)[0], -1, channels])


def describe(x, rows, mask, name, norms, clusters, groups, expansion, training):
    """NeXtVLAD layer (section 3): x [B, T, D] -> [B, expansion*D/groups * clusters]. `rows` number the real frames in x [B*T, D]:
    the batch norm sees these alone. `norms` are the names of its batch norm and of that of the sum."""
    size = x.shape[2]
    wide, part = expansion * size, expansion * size // groups
    x = paddle.gather(paddle.reshape(x, [-1, size]), rows)  # [N, D]
    x = linear(x, weight(f"{name}_fc_expansion_w", size, wide), zeros(f"{name}_fc_expansion_b", wide))
    attention = F.sigmoid(
        linear(x, weight(f"{name}_fc_group_attention_w", wide, groups), zeros(f"{name}_fc_group_attention_b", groups))
    )
    assignment = precision.matmul(x, weight(f"{name}_cluster_weights", wide, groups * clusters))
    assignment = counted_batch_norm(assignment, norms[0], training)
    assignment = F.softmax(paddle.reshape(assignment, [-1, groups, clusters]))
    assignment = padded(assignment * paddle.unsqueeze(attention, 2), rows, mask, clusters)
    centres = weight(f"{name}_cluster_weights2", clusters, part)
    vlad = precision.matmul(padded(x, rows, mask, part), assignment, transpose_x=True)  # [B, part, clusters]
    vlad = vlad - assignment.sum(axis=1, keepdim=True) * paddle.transpose(centres, [1, 0])
    vlad = paddle.reshape(l2_normalize(vlad, axis=1), [-1, part * clusters])
    return counted_batch_norm(vlad, norms[1], training)


def gated(x, reduction, training):
    """Context gating: [B, H] -> [B, H], each element scaled by what the others say."""
    size = x.shape[1]
    gate = precision.matmul(x, weight("gating_fc1_weights", size, size // reduction))
    gate = F.relu(counted_batch_norm(gate, "batch_norm_5", training))
    return x * F.sigmoid(precision.matmul(gate, weight("gating_fc2_weights", size // reduction, size)))


def nextvlad(rgb, audio, length, keys, l2_penalty, training):
    """rgb [B, T, 1024], audio [B, T, 128], length int64 [B] -> logits [B, classes]; `keys` as in MODEL."""
    mask = real_frames(rgb, length)
    rows = paddle.flatten(paddle.nonzero(paddle.reshape(mask, [-1])))  # [N]
    layer = keys.cluster_size, keys.groups, keys.expansion, training
    video = describe(rgb, rows, mask, "video", ("batch_norm_0", "batch_norm_1"), *layer)
    sound = describe(audio, rows, mask, "audio", ("batch_norm_2", "batch_norm_3"), *layer)
    x = dropout(paddle.concat([video, sound], axis=1), keys.drop_rate, training)
    x = precision.matmul(x, weight("hidden1_fc_weights", x.shape[1], keys.hidden_size))
    x = gated(counted_batch_norm(x, "batch_norm_4", training), keys.gating_reduction, training)
    decay = L2Decay(l2_penalty)
    return linear(
        x,
        parameter("logits_clf_weights", [keys.hidden_size, keys.num_classes], KaimingNormal(), decay=decay),
        parameter("logits_clf_bias", [keys.num_classes], Constant(0.0), decay=decay),
    )


class NEXTVLAD(FeatureModel):
    name = "NEXTVLAD"
    slug = "nextvlad"
    title = "NeXtVLAD: frames by groups, as sums of distances from learned centres"
    settings = NextvladConfig
    head = ("logits_clf",)
    optional = ("eigen_param",)

    def translate(self, arrays):
        """Weights of v1.3 and v1.4 lack `eigen_param`, whose numbers their reader took from `eigen_file`."""
        return arrays if "eigen_param" in arrays else {**arrays, "eigen_param": self.eigenvalues()}

    def eigenvalues(self):
        return read_eigenvalues(self.keys.eigen_file, self.keys.video_feature_size)

    def prepare(self, inputs):
        """Dequantise, and undo the whitening of rgb, whose offset is 2 (old zoo v1.5). The numbers come with the weights."""
        start = Assign(self.eigenvalues()) if self.mode == "train" else Constant(1.0)
        scale = parameter("eigen_param", [self.keys.video_feature_size], start, trainable=False)
        return {
            "rgb": dequantise(inputs["rgb"], -2.0) * scale,
            "audio": dequantise(inputs["audio"]),
            "length": inputs["length"],
        }

    def network(self, inputs, training):
        return nextvlad(
            inputs["rgb"], inputs["audio"], inputs["length"], self.keys, self.config.TRAIN.l2_penalty, training
        )

    def rate(self, step, steps_per_epoch):
        """Base rate, times `learning_rate_decay` after every lr_boundary_examples // batch_size steps below max_iter (old zoo v1.3)."""
        train = self.config.TRAIN
        between = train.lr_boundary_examples // train.batch_size
        return train.learning_rate * train.learning_rate_decay ** min(step // between, (train.max_iter - 1) // between)
