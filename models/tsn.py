"""TSN: Temporal Segment Networks (Wang et al., ECCV 2016, arXiv 1608.00859).

One clip (by default one frame) from each of `seg_num` equal parts of the video goes through a 2-D network; the
*features* are averaged over segments before one classifier (old zoo v1.3; the paper averages scores).
"""

from typing import Literal

import paddle
from pydantic import Field, model_validator

from models.base import Arrays, ClipModel, Shapes, Tensor
from models.layers import efficientnet, resnet
from models.layers.named import classifier
from models.names import efficientnet as efficientnet_names
from utils.config.clips import ClipConfig, ClipModelSection


class TSNSection(ClipModelSection):
    backbone: Literal["resnet", "efficientnet_lite0"] = Field(
        "resnet", description="resnet (see num_layers), or efficientnet_lite0 as in configs/tsn_lite.yaml"
    )

    @model_validator(mode="after")
    def _frames_fit(self):
        if self.backbone != "resnet" and self.seglen != 1:
            raise ValueError(f"seglen {self.seglen}: backbone {self.backbone} takes single frames; set seglen to 1")
        return self


class TSNConfig(ClipConfig):
    MODEL: TSNSection = Field(default_factory=TSNSection)


def pooled(image: Tensor, depth: int, training: bool, backbone: str = "resnet") -> Tensor:
    """image [B, segments, 3*seglen, H, W], normalised RGB -> the mean features of its segments [B, size]."""
    _, segments, channels, height, width = image.shape
    frames = paddle.reshape(image, [-1, channels, height, width])  # [B*segments, 3*seglen, H, W]
    if backbone == "resnet":
        x, size = resnet.features(frames, depth, training), resnet.feature_size(depth)
    else:
        x, size = efficientnet.features(frames, training), efficientnet.FEATURES
    return paddle.reshape(x, [-1, segments, size]).sum(axis=1) / segments  # [B, size]


class TSN(ClipModel):
    name = "TSN"
    slug = "tsn"
    title = "Temporal Segment Networks: one frame per segment, features averaged"
    config_class = TSNConfig
    head = ("fc_0",)
    not_in_backbone = ("fc_0",)

    @property
    def released(self) -> str:
        return self.name if self._resnet else f"{self.name} with backbone {self.settings.backbone}"

    @property
    def pretrained(self) -> str:
        return super().pretrained if self._resnet else "EfficientNet-Lite0"

    def translate_backbone(self, arrays: Arrays) -> Arrays:
        return super().translate_backbone(arrays) if self._resnet else efficientnet_names.translated(arrays)

    def adapt(self, arrays: Arrays, shapes: Shapes) -> tuple[Arrays, list[str]]:
        return super().adapt(arrays, shapes) if self._resnet else (arrays, [])

    @property
    def width(self) -> int:
        return resnet.feature_size(self.settings.num_layers) if self._resnet else efficientnet.FEATURES

    def embed(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        return pooled(inputs["image"], self.settings.num_layers, training, self.settings.backbone)

    def classify(self, x: Tensor, training: bool) -> Tensor:
        return classifier(x, "fc_0", self.settings.num_classes, fan_in=self.width)

    @property
    def _resnet(self) -> bool:
        return self.settings.backbone == "resnet"
