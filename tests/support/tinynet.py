"""A network of two convolutions and about 1,000 parameters, for tests that do not depend on the network's size.

Registered beside the zoo's models when tests start (`conftest.py`), and in child processes by `support/run.py`.
"""

import paddle
import paddle.nn.functional as F

from models import MODELS
from models.base import ClipModel
from models.layers.named import classifier, conv_norm

WIDTH = 8

ZOO = dict(MODELS)  # the models that users have


class TinyNet(ClipModel):
    name = "TINYNET"
    slug = "tinynet"
    title = "two convolutions, for tests"
    head = ("fc_0",)

    width = WIDTH

    def embed(self, inputs, training):
        """image [B, segments, 3*seglen, H, W] -> features [B, WIDTH]."""
        image = inputs["image"]
        _, segments, channels, height, width = image.shape
        x = paddle.reshape(image, [-1, channels, height, width])  # [B*segments, 3*seglen, H, W]
        x = F.relu(conv_norm(x, "conv1", "bn_conv1", WIDTH, [3, 3], training, stride=2))
        x = F.relu(conv_norm(x, "conv2", "bn_conv2", WIDTH, [3, 3], training, stride=2))
        return paddle.reshape(x.mean(axis=[2, 3]), [-1, segments, WIDTH]).mean(axis=1)  # [B, WIDTH]

    def classify(self, x, training):
        return classifier(x, "fc_0", self.settings.num_classes, fan_in=WIDTH)


def register() -> None:
    """Make `--model_name=TINYNET` known in this process."""
    MODELS[TinyNet.name] = TinyNet
