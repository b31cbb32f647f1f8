"""AttentionLSTM: a bidirectional peephole LSTM over each feature, pooled by attention (old zoo v1.3, after Bian et al.,
arXiv 1708.03805). Every video is read to its own length.
"""

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle.nn.initializer import Constant, XavierUniform
from paddle.regularizer import L2Decay
from pydantic import Field, PositiveInt

from models.base import Tensor
from models.features import FeatureModel, dropout, real_frames
from models.layers import options
from models.layers.lstm import pad, peephole_lstm
from models.layers.named import linear, parameter
from utils.config.features import FeatureConfig, FeatureListSection, FeatureTrainSection


class AttentionLSTMSection(FeatureListSection):
    embedding_size: int = Field(512, ge=1, description="width of a frame's embedding")
    lstm_size: int = Field(1024, ge=1, description="units of each LSTM")
    hidden_sizes: list[PositiveInt] = Field(
        [8192, 4096], min_length=2, max_length=2, description="widths of the two layers before the classifier"
    )


class AttentionLSTMTrainSection(FeatureTrainSection):
    decay_epochs: list[int] = Field([5], description="epochs (of num_samples videos each) after which the rate falls")
    decay_gamma: float = Field(0.1, gt=0, description="factor on the rate at each of decay_epochs")
    weight_decay: float = Field(0.0008, ge=0, description="L2 on everything but the biases of linear layers")
    num_samples: int = Field(5000000, ge=1, description="videos per epoch for decay_epochs, whatever the list's length")


class AttentionLSTMConfig(FeatureConfig):
    MODEL: AttentionLSTMSection = Field(default_factory=AttentionLSTMSection)
    TRAIN: AttentionLSTMTrainSection = Field(default_factory=AttentionLSTMTrainSection)


def fc_parameters(number: int, inputs: int, size: int) -> tuple[Tensor, Tensor]:
    """(weight [inputs, size], bias [size]) of linear layer `fc_<number>`; the bias does not decay."""
    weight = parameter(f"fc_{number}.w_0", [inputs, size], XavierUniform())
    return weight, parameter(f"fc_{number}.b_0", [size], Constant(0.0), decay=L2Decay(0.0))


def fc(x: Tensor, number: int, size: int) -> Tensor:
    return linear(x, *fc_parameters(number, x.shape[-1], size))


def lstm(x: Tensor, number: int, projection: int, size: int, training: bool) -> Tensor:
    """x [B, T, E] -> hidden states [B, T, size]; layer `fc_<projection>` computes the inputs of the gates."""
    weight = parameter(f"lstm_{number}.w_0", [size, 4 * size], XavierUniform())
    bias = parameter(f"lstm_{number}.b_0", [1, 7 * size], Constant(0.0))
    into, into_bias = fc_parameters(projection, x.shape[-1], 4 * size)
    # Add the two biases of a gate to each other once, not to every frame.
    bias = bias + paddle.concat([into_bias, paddle.zeros([3 * size], bias.dtype)])
    return peephole_lstm(options.matmul(x, into), weight, bias, training)


def reversal(mask: Tensor, length: Tensor) -> Tensor:
    """Index [B, T, 2] for gather_nd that reverses the real frames of each video; the padding gets the first frame."""
    time = paddle.cast(mask, "int64").cumsum(axis=1) - 1  # [B, T]; in the padding, that of the last real frame
    video = paddle.zeros_like(time) + paddle.unsqueeze(paddle.arange(paddle.shape(time)[0], dtype="int64"), 1)
    return paddle.stack([video, paddle.unsqueeze(length, 1) - 1 - time], axis=2)


def encode(
    x: Tensor, length: Tensor, number: int, embedding: int, size: int, drop_rate: float, training: bool
) -> Tensor:
    """Feature `number` of the videos, [B, T, D] -> [B, 2*size]. Layers from fc_<4*number> and lstm_<2*number> on."""
    first, x = 4 * number, pad(x)
    mask = real_frames(x, length)  # [B, T]
    turned = reversal(mask, length)
    x = options.to_float32(paddle.tanh(fc(x, first, embedding)))
    with options.full_precision():  # rounding errors would add up over hundreds of frames
        ahead = lstm(x, 2 * number, first + 1, size, training)
        back = lstm(paddle.gather_nd(x, turned), 2 * number + 1, first + 2, size, training)
        x = paddle.concat([ahead, paddle.gather_nd(back, turned)], axis=2)  # [B, T, 2*size]
    x = dropout(x, drop_rate, training)
    scores = options.to_float32(fc(x, first + 3, 1)).squeeze(2)  # [B, T]; fp16 cannot hold -1e30
    scores = paddle.where(mask, scores, paddle.full_like(scores, -1e30))
    attention = paddle.unsqueeze(F.softmax(scores, axis=1), 1)  # [B, 1, T], zeros in the padding
    return options.matmul(attention, x).squeeze(1)


def attention_lstm(features: list[Tensor], length: Tensor, settings: AttentionLSTMSection, training: bool) -> Tensor:
    """features: list of [B, T, D]; length int64 [B]; `settings` is the section MODEL -> logits [B, classes]."""
    encoded = [
        encode(x, length, i, settings.embedding_size, settings.lstm_size, settings.drop_rate, training)
        for i, x in enumerate(features)
    ]
    x, first = paddle.concat(encoded, axis=1), 4 * len(features)
    x = F.relu(fc(x, first, settings.hidden_sizes[0]))
    x = paddle.tanh(fc(x, first + 1, settings.hidden_sizes[1]))
    return fc(x, first + 2, settings.num_classes)


class AttentionLSTM(FeatureModel):
    name = "AttentionLSTM"
    slug = "attention_lstm"
    title = "AttentionLSTM: bidirectional LSTM with peepholes, pooled by attention"
    config_class = AttentionLSTMConfig
    onednn = False  # its many small operators take three times as long with oneDNN

    def __init__(self, config: Any, mode: str, devices: int = 1):
        super().__init__(config, mode, devices)
        self.head = (f"fc_{4 * len(self.settings.streams) + 2}.",)

    def network(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        return attention_lstm(list(self.streams(inputs).values()), inputs["length"], self.settings, training)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Sigmoid cross entropy, summed over the classes *and* the batch of all devices (old zoo v1.3).

        Learning rate and weight decay were chosen for the sum.
        """
        return self.losses(logits, label).sum() * float(self.devices)

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Base rate, times `decay_gamma` after each of `decay_epochs` of num_samples videos (old zoo v1.3)."""
        train = self.config.TRAIN
        passed = sum(step >= epoch * train.num_samples / train.batch_size for epoch in train.decay_epochs)
        return train.learning_rate * train.decay_gamma**passed

    def optimizer(self, rate: paddle.optimizer.lr.LRScheduler) -> paddle.optimizer.Optimizer:
        """Centred RMSProp with L2 on everything but the biases of linear layers (old zoo v1.3)."""
        decay = L2Decay(self.config.TRAIN.weight_decay)
        return paddle.optimizer.RMSProp(
            learning_rate=rate, rho=0.95, epsilon=1e-6, momentum=0.0, centered=True, weight_decay=decay
        )
