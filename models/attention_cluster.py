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
    cluster_nums: list[int] = Field([32, 32], description="attention units of each feature")
    hidden_sizes: list[PositiveInt] = Field(
        [1024, 4096], min_length=2, max_length=2, description="widths of the two layers before the classifier"
    )

    @model_validator(mode="after")
    def _one_cluster_each(self):
        if len(self.cluster_nums) != len(self.feature_names):
            raise ValueError(
                f"cluster_nums {self.cluster_nums}: expected one number for each of feature_names {self.feature_names}"
            )
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


def attention_cluster(features: list[Tensor], settings: AttentionClusterSection, training: bool) -> Tensor:
    """features: list of [B, T, D]; `settings` is the section MODEL -> logits [B, classes]."""
    pooled = [cluster(x, f"satt{i}", n) for i, (x, n) in enumerate(zip(features, settings.cluster_nums, strict=True))]
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
        return attention_cluster([inputs[name] for name in self.settings.features], self.settings, training)
