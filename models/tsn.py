"""TSN: Temporal Segment Networks (Wang et al., ECCV 2016, arXiv 1608.00859).

One clip (by default one frame) from each of `seg_num` equal parts of the video goes through a 2-D ResNet; the
*features* are averaged over segments before one classifier (old zoo v1.3; the paper averages scores).
"""

import paddle

from models.base import ClipModel, Tensor
from models.layers import resnet
from models.layers.named import classifier


def tsn(image: Tensor, classes: int, depth: int, training: bool) -> Tensor:
    """image [B, segments, 3*seglen, H, W], normalised RGB -> logits [B, classes]."""
    _, segments, channels, height, width = image.shape
    frames = paddle.reshape(image, [-1, channels, height, width])  # [B*segments, 3*seglen, H, W]
    x = resnet.features(frames, depth, training)  # [B*segments, 2048]
    x = paddle.reshape(x, [-1, segments, resnet.FEATURES]).sum(axis=1) / segments  # [B, 2048]
    return classifier(x, "fc_0", classes, fan_in=resnet.FEATURES)


class TSN(ClipModel):
    name = "TSN"
    slug = "tsn"
    title = "Temporal Segment Networks: one frame per segment, features averaged"
    head = ("fc_0",)
    not_in_backbone = ("fc_0",)

    def network(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        return tsn(inputs["image"], self.settings.num_classes, self.settings.num_layers, training)
