"""What a network needs around it to be trained and run. A model answers: inputs, network, loss, optimizer and schedule,
pretrained source. It is built from validated settings and never reads a file.
"""

import numpy as np
import paddle
import paddle.nn.functional as F

from models.layers import resnet
from models.layers.tuning import Tuning
from utils.config.clips import ClipConfig
from utils.errors import DataError


class Model:
    """Base of every model; `config` is an instance of the class's own `settings`, `mode` one of train, valid, test, infer."""

    name = ""  # as users type it; file names and results use this spelling
    slug = ""  # stem of its config file and scripts
    title = ""  # one line for `--help` and the README
    data = ""  # reader family: "clips" or "features"
    settings = None  # the configuration class of utils/config/schema.py
    head = ()  # prefixes of the classifier's parameters: re-initialised for another class count
    not_in_backbone = ()  # substrings of the parameters that a pretrained backbone does not provide; (): it has none
    onednn = True  # whether oneDNN makes its inference on a CPU faster
    of_weights = ()  # keys of MODEL that weights decide; see `implied`
    optional = ()  # parameters that weights may lack; they then keep their initial values

    def __init__(self, config, mode, devices=1):
        """`devices`: parts of a batch whose gradients or losses are averaged."""
        self.config, self.mode, self.devices = config, mode, devices
        self.keys = config.MODEL

    @classmethod
    def in_backbone(cls, name):
        """Whether a pretrained image backbone provides the parameter `name`."""
        return bool(cls.not_in_backbone) and not any(part in name for part in cls.not_in_backbone)

    def tuning(self):
        """What is frozen, and what trains at a rate of its own."""
        return Tuning()

    @classmethod
    def implied(cls, names):
        """{key of MODEL: value} that the parameter names of weights decide."""
        return {}

    def translate(self, arrays):
        """{name: array} of a weight file, under the names used here where the file has another project's."""
        return arrays

    def adapt(self, arrays, shapes):
        """({name: array} of an image backbone as this model wants it, what was reshaped); `shapes` are the model's."""
        return arrays, []

    def inputs(self, raw):
        """Placeholders by name: as the reader delivers them (`raw`) or as the network takes them."""
        raise NotImplementedError

    def prepare(self, inputs):
        """Raw inputs (uint8) -> the network's float inputs, inside the graph."""
        raise NotImplementedError

    def interface(self, arrays):
        """What a caller hands to Predictor.run -> (keyword arguments of Graph, feed). Raises DataError."""
        raise NotImplementedError

    def network(self, inputs, training):
        """Float inputs -> logits [B, classes]; a pair (logits, auxiliary logits) where a model trains with a second head."""
        raise NotImplementedError

    def label(self):
        """Placeholder of the ground truth."""
        raise NotImplementedError

    def probabilities(self, logits):
        """Scores [B, classes] as users read them."""
        raise NotImplementedError

    def loss(self, logits, label):
        """Scalar training loss, from logits."""
        raise NotImplementedError

    def rate(self, step, steps_per_epoch):
        """Learning rate of 0-based `step`: a pure function, so that resuming needs no scheduler state."""
        raise NotImplementedError

    def optimizer(self, rate):
        """The Paddle optimizer; `rate` is a scheduler object the trainer drives."""
        raise NotImplementedError


class ClipModel(Model):
    """Models on clips: `frames` uint8 RGB [B, seg_num*seglen, H, W, 3] or `image` float32 [B, seg_num, 3*seglen, H, W]."""

    data = "clips"
    settings = ClipConfig
    class_weights = ()  # factor on the training loss of each class; the trainer sets it, from the list of samples

    def tuning(self):
        train = self.config.TRAIN
        return Tuning(tuple(train.freeze), train.lr_multipliers, train.freeze_bn, self.in_backbone)

    def adapt(self, arrays, shapes):
        """Where frames are stacked as channels, `conv1` takes them all."""
        return resnet.inflate_conv1(arrays, shapes)

    def inputs(self, raw, size=None, segments=None):
        """`size` (height, width) and `segments` default to the mode's target_size and seg_num."""
        segments = segments or self.config.segments(self.mode)
        height, width = size or (self.config.section(self.mode).target_size,) * 2
        length = self.keys.seglen
        if raw:
            return {"frames": paddle.static.data("frames", [None, segments * length, height, width, 3], "uint8")}
        shape = [None, segments, 3 * length, height, width]
        return {"image": paddle.static.data("image", shape, paddle.get_default_dtype())}

    def prepare(self, inputs):
        """Cast, lay out and normalise: channel = frame_in_segment*3 + colour (old zoo v1.3).

        Three axes only: oneDNN has no fast way to subtract the mean along the third of five, which took longer than half of StNet.
        """
        frames = inputs["frames"]
        _, count, height, width, _ = frames.shape
        x = paddle.reshape(paddle.cast(frames, "float32"), [-1, height * width, 3]).transpose([0, 2, 1])
        mean = paddle.to_tensor([[255.0 * m] for m in self.keys.image_mean], "float32")
        scale = paddle.to_tensor([[1.0 / (255.0 * s)] for s in self.keys.image_std], "float32")
        x = (x - mean) * scale  # [B*T, 3, H*W]
        length = self.keys.seglen
        return {"image": paddle.reshape(x, [-1, count // length, 3 * length, height, width])}

    def interface(self, arrays):
        """`image` float32 [B, seg_num, 3*seglen, H, W], normalised, or `frames` uint8 RGB [B, seg_num*seglen, H, W, 3]; any number of
        segments and any size."""
        length = self.keys.seglen
        if set(arrays) == {"frames"}:
            frames = np.ascontiguousarray(arrays["frames"])
            if frames.ndim != 5 or frames.shape[4] != 3 or frames.shape[1] % length or frames.dtype != np.uint8:
                raise DataError(
                    f"input 'frames' is {frames.dtype} {list(frames.shape)}; expected uint8 [batch, a multiple of {length}, "
                    "height, width, 3]"
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

    def label(self):
        return paddle.static.data("label", [None, 1], "int64")

    def probabilities(self, logits):
        return F.softmax(logits)

    def loss(self, logits, label):
        """Mean cross entropy; label -1 adds nothing but counts in the mean (old zoo v1.3).

        Written out, because Paddle's cross_entropy and log_softmax never exceed 64 for one sample.
        """
        train, classes = self.config.TRAIN, self.keys.num_classes
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
        return losses.mean()

    def rate(self, step, steps_per_epoch):
        """Base rate, times `learning_rate_decay` after each third of the epochs (old zoo v1.3)."""
        train = self.config.TRAIN
        third = train.epoch * steps_per_epoch / 3
        passed = sum(step >= boundary for boundary in (third, 2 * third))
        return train.learning_rate * train.learning_rate_decay**passed

    def optimizer(self, rate):
        """Momentum with L2 on everything trainable, batch norms and biases included (old zoo v1.3)."""
        train = self.config.TRAIN
        return paddle.optimizer.Momentum(
            learning_rate=rate, momentum=train.momentum, weight_decay=paddle.regularizer.L2Decay(train.l2_weight_decay)
        )
