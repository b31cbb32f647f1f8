"""Attention Clusters (Long et al., CVPR 2018, arXiv 1711.09550): bags of features pooled by many attention units each.

Frames are resampled to a fixed number by the reader; the network itself does not see their order.
"""

import math

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import Initializer, KaimingNormal, KaimingUniform, Normal
from pydantic import Field, PositiveInt, model_validator

from models.base import Tensor
from models.features import FeatureModel, dropout, l2_normalize
from models.layers import options
from models.layers.named import linear, parameter
from utils.config.features import FeatureConfig, FeatureListSection


class AttentionClusterSection(FeatureListSection):
    seg_num: int = Field(100, ge=1, description="frames that every video is resampled to")
    cluster_nums: list[int] | None = Field(None, description="attention units of each input; none: 32 each")
    segments: int = Field(1, ge=1, description="ordered parts that are pooled on their own; 1: order is not seen")
    hidden_sizes: list[PositiveInt] = Field(
        [1024, 4096], min_length=2, max_length=2, description="widths of the two layers before the classifier"
    )

    @model_validator(mode="after")
    def _one_cluster_each(self):
        inputs = self.inputs or self.feature_names
        if self.cluster_nums is None:
            self.cluster_nums = [32] * len(inputs)
        if len(self.cluster_nums) != len(inputs):
            called = "inputs" if self.inputs else "feature_names"
            raise ValueError(f"cluster_nums {self.cluster_nums}: expected one number for each of {called} {inputs}")
        if self.seg_num % self.segments:
            raise ValueError(f"segments {self.segments} does not divide seg_num {self.seg_num}; change one of them")
        return self


class AttentionClusterConfig(FeatureConfig):
    MODEL: AttentionClusterSection = Field(default_factory=AttentionClusterSection)


def cluster(x: Tensor, name: str, units: int) -> Tensor:
    """Attention cluster with shifting operation (section 3.2): frames [B, T, D] -> [B, units*D]."""
    size = x.shape[-1]
    keys = parameter(f"{name}.conv.weight", [units, size, 1, 1], KaimingNormal())
    bias = parameter(f"{name}.conv.bias", [units], KaimingUniform())
    spread = Normal(0.0, units**-0.25)
    scale = parameter(f"{name}.shift_w", [units], spread)
    shift = parameter(f"{name}.shift_b", [units], spread)
    scores = options.matmul(x, paddle.reshape(keys, [units, size]), transpose_y=True) + bias
    attention = F.softmax(scores, axis=1)  # [B, T, units]
    pooled = options.matmul(attention, x, transpose_x=True)  # [B, units, D]
    pooled = pooled * paddle.reshape(scale, [units, 1]) + paddle.reshape(shift, [units, 1])
    pooled = l2_normalize(pooled, axis=2) / math.sqrt(units)
    return paddle.reshape(pooled, [-1, units * size])


def fc(x: Tensor, name: str, size: int, bias: Initializer) -> Tensor:
    """Linear layer to [B, size]: weight `<name>.weights`, bias `<name>.bias` with the initialiser `bias`."""
    weight = parameter(f"{name}.weights", [x.shape[-1], size], KaimingNormal())
    return linear(x, weight, parameter(f"{name}.bias", [size], bias))


def in_segments(x: Tensor, name: str, units: int, segments: int) -> Tensor:
    """`cluster` of each ordered part on its own, with shared parameters: [B, T, D] -> [B, segments*units*D]."""
    if segments == 1:
        return cluster(x, name, units)
    _, frames, size = x.shape
    parts = cluster(paddle.reshape(x, [-1, frames // segments, size]), name, units)  # [B*segments, units*D]
    return paddle.reshape(parts, [-1, segments * units * size])  # [B, segments*units*D]


def attention_cluster(features: list[Tensor], settings: AttentionClusterSection, training: bool) -> Tensor:
    """features: list of [B, T, D]; `settings` is the section MODEL -> logits [B, classes]."""
    counts = enumerate(zip(features, settings.cluster_nums, strict=True))
    pooled = [in_segments(x, f"satt{i}", n, settings.segments) for i, (x, n) in counts]
    x = dropout(paddle.concat(pooled, axis=1), settings.drop_rate, training)  # [B, sum of units*D]
    x = paddle.tanh(fc(x, "fc1", settings.hidden_sizes[0], KaimingUniform()))
    x = paddle.tanh(fc(x, "fc2", settings.hidden_sizes[1], KaimingUniform()))
    return fc(x, "logistic", settings.num_classes, KaimingNormal())


class AttentionCluster(FeatureModel):
    name = "AttentionCluster"
    slug = "attention_cluster"
    title = "Attention Clusters: many attention units pool each feature"
    config_class = AttentionClusterConfig
    head = ("logistic",)

    @property
    def frames(self) -> int:
        return self.settings.seg_num

    def chosen(self, video: np.ndarray) -> np.ndarray:
        """The middle frame of each of seg_num equal parts, as the reader takes them outside training."""
        parts = np.arange(self.settings.seg_num) + 0.5
        return video[(parts * len(video) / self.settings.seg_num).astype(int)]

    def network(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        return attention_cluster(list(self.streams(inputs).values()), self.settings, training)
