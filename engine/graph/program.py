"""From a model to a program.

    Graph(model, raw, training)     feeds -> probabilities, logits, loss (and gradients and update)

Train and valid graphs are built separately, each under a fresh name scope, so that names coincide (old zoo v1.3).
"""

from typing import Any

import paddle

from engine.distributed.group import Group
from engine.graph import compat
from engine.graph.step import Accumulation, LossScale
from models.base import Model
from models.layers import options
from models.layers.options import BuildOptions, Tuning
from utils.errors import ConfigError


class StepRate(paddle.optimizer.lr.LRScheduler):
    """A learning rate that the training loop sets before each step: nothing to save, nothing to restore."""

    def __init__(self):
        super().__init__(learning_rate=0.0)

    def get_lr(self) -> float:
        return self.last_lr if self.last_epoch > 0 else self.base_lr

    def set(self, value: float) -> None:
        self.last_lr = float(value)


class Graph:
    """One program of one model.

    With `raw` the program takes what the reader delivers (uint8), otherwise the network's float inputs. `shape` goes to
    the model's `inputs` (clips: size, segments). In training the processes of `group` average their gradients, and a
    batch is computed in `pieces` equal parts; without `update` nothing but the statistics changes. `amp` is None,
    "bf16" or "fp16", for the device that `use_gpu` selects.

    Attributes: `feeds` (names), `inputs` {name: value}, `logits`, `probabilities`, `loss` (None in infer), `parameters`
    {name: (shape, trainable)}, and in training `gradients` {name: value}, `rate`, `optimizer`, `stop`.
    """

    def __init__(
        self,
        model: Model,
        raw: bool = True,
        training: bool = False,
        update: bool = True,
        group: Group | None = None,
        pieces: int = 1,
        amp: str | None = None,
        use_gpu: bool = False,
        fold_norms: bool = False,
        portable: bool = False,
        **shape: Any,
    ):
        tuning = model.tuning() if training else Tuning()
        self.options = BuildOptions(tuning, amp, use_gpu, fold_norms, portable)
        with compat.static_mode(), paddle.utils.unique_name.guard():
            self._build(model, raw, training, training and update, group, pieces, amp, shape)

    def _build(self, model, raw, training, update, group, pieces, amp, shape):
        self.program, self.startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(self.program, self.startup):
            self.inputs = model.inputs(raw, **shape)
            self.feeds = list(self.inputs)
            inputs = model.prepare(self.inputs) if raw else self.inputs
            with options.building(self.options):
                outputs = model.network(inputs, training)
            if amp:
                outputs = tuple(map(_widened, outputs)) if isinstance(outputs, tuple) else _widened(outputs)
            self.logits = outputs[0] if isinstance(outputs, tuple) else outputs
            self.probabilities = model.probabilities(self.logits)
            self.loss = None
            if model.mode != "infer":
                self.loss = model.loss(outputs, model.label())
                self.feeds.append("label")
            self.parameters = compat.parameters(self.program)
            self.group, self.pieces, self.accumulation, self.amp = group or Group(), pieces, None, amp
            if update:
                self._update(model)

    def _update(self, model):
        if not any(trainable for _, trainable in self.parameters.values()):
            raise ConfigError(
                f"TRAIN.freeze {list(model.tuning().freeze)} leaves no parameter of {model.name} to train; freeze less"
            )
        self.rate = StepRate()
        self.optimizer = model.optimizer(self.rate)
        self.scale = LossScale() if self.amp == "fp16" else None
        pairs = self.optimizer.backward(self.scale.scaled(self.loss) if self.scale else self.loss)
        self.gradients = {parameter.name: gradient for parameter, gradient in pairs}
        if self.pieces == 1:
            self.stop = self._apply(pairs)
            return
        self.accumulation = Accumulation(pairs, self.pieces)
        with self.accumulation.building() as pairs:
            self.stop = self._apply(pairs)

    def _apply(self, pairs):
        """Record the update; returns the variable that says whether a process was asked to stop (None: one process)."""
        stop = paddle.static.data("stop", [1], "float32") if self.group.world > 1 else None
        pairs, stop = self.group.mean_gradients(pairs, stop)
        if self.scale:
            pairs = self.scale.unscaled(pairs)
        self.optimizer.apply_gradients(pairs)
        return stop

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{parameter name: shape}."""
        return {name: shape for name, (shape, _) in self.parameters.items()}

    def accumulators(self) -> list[str]:
        """Names of the optimizer's state variables, e.g. `conv1_weights_velocity_0`."""
        names = [variable.name for group in self.optimizer._accumulators.values() for variable in group.values()]
        return sorted(names + (list(LossScale.START) if self.scale else []))


def _widened(x):
    return paddle.cast(x, "float32")
