"""What a network needs around it to be trained and run: inputs, loss, optimizer, schedule, pretrained weights.

A model is built from validated settings and never reads a file.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F

from models.layers import resnet
from models.layers.named import mean_of_batch
from models.layers.options import Tuning
from models.names import mindspore as mindspore_names
from models.names import resnet as resnet_names
from utils.config.clips import ClipConfig
from utils.errors import DataError

Tensor = paddle.Tensor
Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]
# (config key, path, hint for the error message) -> the array in a .npy file, None where there is no such file
ReadArray = Callable[[str, str, str], np.ndarray | None]


class Model:
    """Base of every model. `config` is an instance of `config_class`; `mode` is train, valid, test or infer."""

    name = ""  # as users type it; file names and results use this spelling
    slug = ""  # stem of its config file and scripts
    title = ""  # one line for `--help` and the README
    data = ""  # reader family: "clips" or "features"
    config_class = None  # the class of its configuration (utils/config)
    head = ()  # prefixes of the classifier's parameters: re-initialised for another class count
    not_in_backbone = ()  # substrings of the parameters that a pretrained backbone does not provide; (): it has none
    onednn = True  # whether oneDNN makes its inference on a CPU faster
    of_weights = ()  # keys of MODEL that weights decide; see `implied`
    pretrained_whole = False  # whether training starts from weights of the whole model instead of an image backbone
    optional = ()  # parameters that weights may lack; they then keep their initial values

    def __init__(self, config: Any, mode: str, devices: int = 1):
        """`devices`: parts of a batch whose gradients or losses are averaged. `settings` is the section MODEL."""
        self.config, self.mode, self.devices = config, mode, devices
        self.settings = config.MODEL

    @classmethod
    def in_backbone(cls, name: str) -> bool:
        """Whether a pretrained image backbone provides the parameter called `name`."""
        return bool(cls.not_in_backbone) and not any(part in name for part in cls.not_in_backbone)

    def tuning(self) -> Tuning:
        """Which parameters are frozen, and which have their own learning rate."""
        return Tuning()

    @classmethod
    def implied(cls, names: Collection[str]) -> dict[str, Any]:
        """{key of MODEL: value} that follow from the parameter names of weights."""
        return {}

    @property
    def released(self) -> str:
        """Name of its released weights in engine/weights/released.py, if there are any."""
        return self.name

    @property
    def pretrained(self) -> str:
        """Name of the released weights that training starts from by default; "": from scratch."""
        return ""

    def translate(self, arrays: Arrays) -> Arrays:
        """{name: array} of a weight file with the names used here, where the file has those of another project."""
        return arrays

    def constants(self, read: ReadArray) -> Arrays:
        """{name: array} of parameters whose values come from files that the configuration names; `read` reads one."""
        return {}

    def translate_backbone(self, arrays: Arrays) -> Arrays:
        """{name: array} of an image backbone with the names used here."""
        return arrays

    def adapt(self, arrays: Arrays, shapes: Shapes) -> tuple[Arrays, list[str]]:
        """({name: array} of an image backbone as this model needs it, what was reshaped); `shapes` are the model's."""
        return arrays, []

    def inputs(self, raw: bool, **shape: Any) -> dict[str, Tensor]:
        """Placeholders by name: as the reader delivers them (`raw`) or as the network takes them."""
        raise NotImplementedError

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Raw inputs (uint8) -> the network's float inputs, inside the graph."""
        raise NotImplementedError

    def interface(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        """What a caller passes to Predictor.run -> (keyword arguments of Graph, feed). Raises DataError."""
        raise NotImplementedError

    def network(self, inputs: dict[str, Tensor], training: bool) -> Tensor | tuple[Tensor, Tensor]:
        """Float inputs -> logits [B, classes]; with a second head in training, a pair (logits, auxiliary logits)."""
        raise NotImplementedError

    def label(self) -> Tensor:
        """Placeholder of the ground truth."""
        raise NotImplementedError

    def probabilities(self, logits: Tensor) -> Tensor:
        """Scores [B, classes] as users read them."""
        raise NotImplementedError

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Scalar training loss, from logits."""
        raise NotImplementedError

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Learning rate of 0-based `step`: a pure function, so that resuming needs no scheduler state."""
        raise NotImplementedError

    def optimizer(self, rate: paddle.optimizer.lr.LRScheduler) -> paddle.optimizer.Optimizer:
        """The Paddle optimizer; the trainer sets the value of `rate` before each step."""
        raise NotImplementedError


def clips_first(image: Tensor) -> Tensor:
    """[B, M, 3*T, H, W] with channel = frame*3 + colour -> [B*M, 3, T, H, W]."""
    _, _, channels, height, width = image.shape
    x = paddle.reshape(image, [-1, channels // 3, 3, height, width])  # [B*M, T, 3, H, W]
    return paddle.transpose(x, [0, 2, 1, 3, 4])


class ClipModel(Model):
    """Models on clips.

    Inputs: `frames` uint8 RGB [B, seg_num*seglen, H, W, 3], or `image` float32 [B, seg_num, 3*seglen, H, W].
    """

    data = "clips"
    config_class = ClipConfig
    width = 0  # of the features that `embed` gives
    class_weights: Sequence[float] = ()  # factor on the training loss of each class; set by the trainer
    nesterov = False  # whether the momentum is Nesterov's

    def tuning(self) -> Tuning:
        train = self.config.TRAIN
        return Tuning(tuple(train.freeze), train.lr_multipliers, train.freeze_bn, self.in_backbone)

    @property
    def pretrained(self) -> str:
        return f"ResNet-{self.settings.num_layers}" if self.not_in_backbone else ""

    def translate_backbone(self, arrays: Arrays) -> Arrays:
        """torchvision's and MindSpore's names of a ResNet become those used here."""
        return resnet_names.translated(mindspore_names.translated(arrays))

    def adapt(self, arrays: Arrays, shapes: Shapes) -> tuple[Arrays, list[str]]:
        """Where frames are stacked as channels, `conv1` takes them all."""
        return resnet.inflate_conv1(arrays, shapes)

    def inputs(self, raw: bool, size: tuple[int, int] | None = None, segments: int | None = None) -> dict[str, Tensor]:
        """`size` (height, width) and `segments` default to the mode's target_size and seg_num."""
        segments = segments or self.config.segments(self.mode)
        height, width = size or (self.config.section(self.mode).target_size,) * 2
        length = self.settings.seglen
        if raw:
            return {"frames": paddle.static.data("frames", [None, segments * length, height, width, 3], "uint8")}
        shape = [None, segments, 3 * length, height, width]
        return {"image": paddle.static.data("image", shape, paddle.get_default_dtype())}

    def prepare(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cast, lay out and normalise: channel = frame_in_segment*3 + colour (old zoo v1.3).

        Three axes only: with five, oneDNN subtracts the mean so slowly that it took longer than half of StNet.
        """
        frames = inputs["frames"]
        _, count, height, width, _ = frames.shape
        x = paddle.reshape(paddle.cast(frames, "float32"), [-1, height * width, 3]).transpose([0, 2, 1])
        mean = paddle.to_tensor([[255.0 * m] for m in self.settings.image_mean], "float32")
        scale = paddle.to_tensor([[1.0 / (255.0 * s)] for s in self.settings.image_std], "float32")
        x = (x - mean) * scale  # [B*T, 3, H*W]
        length = self.settings.seglen
        return {"image": paddle.reshape(x, [-1, count // length, 3 * length, height, width])}

    def interface(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
        """`image` float32 [B, seg_num, 3*seglen, H, W], normalised, or `frames` uint8 RGB [B, seg_num*seglen, H, W, 3].

        Any number of segments and any size.
        """
        length = self.settings.seglen
        if set(arrays) == {"frames"}:
            frames = np.ascontiguousarray(arrays["frames"])
            if frames.ndim != 5 or frames.shape[4] != 3 or frames.shape[1] % length or frames.dtype != np.uint8:
                raise DataError(
                    f"input 'frames' is {frames.dtype} {list(frames.shape)}; "
                    f"expected uint8 [batch, a multiple of {length}, height, width, 3]"
                )
            return {"raw": True, "size": frames.shape[2:4], "segments": frames.shape[1] // length}, {"frames": frames}
        if set(arrays) != {"image"}:
            raise DataError(f"expected one input 'image' or 'frames', found {', '.join(map(repr, arrays)) or 'none'}")
        image = np.ascontiguousarray(arrays["image"], np.float32)
        channels = 3 * length
        if image.ndim != 5 or image.shape[2] != channels:
            raise DataError(
                f"input 'image' has shape {list(image.shape)}; expected [batch, seg_num, {channels}, height, width]"
            )
        return {"raw": False, "size": image.shape[3:], "segments": image.shape[1]}, {"image": image}

    def embed(self, inputs: dict[str, Tensor], training: bool) -> Tensor:
        """Float inputs -> what the classifier sees: pooled features [B, width]."""
        raise NotImplementedError

    def classify(self, x: Tensor, training: bool) -> Tensor:
        """Pooled features [B, width] -> logits [B, classes]."""
        raise NotImplementedError

    def network(self, inputs: dict[str, Tensor], training: bool) -> Tensor | tuple[Tensor, Tensor]:
        return self.classify(self.embed(inputs, training), training)

    def label(self) -> Tensor:
        return paddle.static.data("label", [None, 1], "int64")

    def probabilities(self, logits: Tensor) -> Tensor:
        return F.softmax(logits)

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Mean cross entropy; label -1 adds nothing but counts in the mean (old zoo v1.3).

        Written out, because Paddle's cross_entropy and log_softmax never exceed 64 for one sample.
        """
        train, classes = self.config.TRAIN, self.settings.num_classes
        smoothing = train.label_smoothing if self.mode == "train" else 0.0
        known = paddle.cast(label >= 0, logits.dtype)  # [B, 1]
        one_hot = paddle.cast(F.one_hot(paddle.clip(label, min=0).squeeze(1), classes), logits.dtype)
        if train.smoothing_over == "all":
            target = one_hot * (1.0 - smoothing) + smoothing / classes
        else:
            target = one_hot * (1.0 - smoothing) + (1.0 - one_hot) * (smoothing / max(classes - 1, 1))
        log_probabilities = logits - paddle.logsumexp(logits, axis=1, keepdim=True)
        losses = -(target * known * log_probabilities).sum(axis=1)  # [B]
        if self.class_weights:
            losses = losses * paddle.matmul(one_hot, paddle.to_tensor(self.class_weights, logits.dtype))
        return mean_of_batch(losses, self.mode == "train")

    def rate(self, step: int, steps_per_epoch: int) -> float:
        """Base rate, times `learning_rate_decay` after each third of the epochs (old zoo v1.3); or TRAIN.schedule's."""
        train = self.config.TRAIN
        if train.schedule == "cosine":
            rate = train.learning_rate * cosine(step, train.epoch * steps_per_epoch)
        else:
            rate = train.learning_rate * train.learning_rate_decay ** self.decays(step, steps_per_epoch)
        return rate * warmup(step, train.warmup_epochs * steps_per_epoch)

    def decays(self, step: int, steps_per_epoch: int) -> int:
        """How often the rate has fallen before `step` in the piecewise schedule."""
        third = self.config.TRAIN.epoch * steps_per_epoch / 3
        return sum(step >= boundary for boundary in (third, 2 * third))

    def optimizer(self, rate: paddle.optimizer.lr.LRScheduler) -> paddle.optimizer.Optimizer:
        """Momentum with L2 on everything trainable, batch norms and biases included (old zoo v1.3)."""
        train = self.config.TRAIN
        return paddle.optimizer.Momentum(
            learning_rate=rate,
            momentum=train.momentum,
            use_nesterov=self.nesterov,
            grad_clip=paddle.nn.ClipGradByGlobalNorm(train.clip_norm) if train.clip_norm else None,
            weight_decay=paddle.regularizer.L2Decay(train.l2_weight_decay),
        )


def cosine(step: int, steps: int) -> float:
    """Share of the base rate at `step` of `steps`: half a cosine, from 1 to 0 (Loshchilov and Hutter, ICLR 2017)."""
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


def warmup(step: int, steps: float) -> float:
    """Share of the rate at `step` where it rises in a line over the first `steps`; 1 afterwards."""
    return min(1.0, (step + 1) / steps) if steps else 1.0
