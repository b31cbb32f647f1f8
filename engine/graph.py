"""From a model to something that runs: programs, the scope that holds their parameters, and one `run`.

    Device(use_gpu, onednn)         where, and the variables (one scope; programs on it share parameters by name)
    Graph(model, raw, training)     one program: feeds -> probabilities, logits, loss (and gradients and update)
    device.run(graph, feed, fetch)  numpy in, numpy out

Train and valid graphs are built separately, each under a fresh name scope, so that names coincide (old zoo v1.3).
"""
import numpy as np
import paddle

from engine import compat
from engine.distributed import Group
from engine.update import Accumulation, LossScale
from models import precision, tuning
from utils.errors import ConfigError, WeightsError


class StepRate(paddle.optimizer.lr.LRScheduler):
    """A learning rate that the training loop sets before each step: nothing to save, nothing to restore."""

    def __init__(self):
        super().__init__(learning_rate=0.0)

    def get_lr(self):
        return self.last_lr if self.last_epoch > 0 else self.base_lr

    def set(self, value):
        self.last_lr = float(value)


class Graph:
    """One program of one model.

    `raw` feeds what the reader delivers (uint8), otherwise the network's float inputs; `shape` goes to the model's
    `inputs` (clips: size, segments). In training the processes of `group` average their gradients, and a batch goes through in
    `pieces` equal parts; `amp` is None, "bf16" or "fp16". Attributes: `feeds` (names), `inputs` {name: value}, `logits`,
    `probabilities`, `loss` (None in infer), `parameters` {name: (shape, trainable)}, and in training `gradients` {name: value}, `rate`,
    `optimizer`, `stop`.
    """

    def __init__(self, model, raw=True, training=False, group=None, pieces=1, amp=None, **shape):
        paddle.enable_static()
        self.program, self.startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(self.program, self.startup), paddle.utils.unique_name.guard():
            self.inputs = model.inputs(raw, **shape)
            self.feeds = list(self.inputs)
            inputs = model.prepare(self.inputs) if raw else self.inputs
            with tuning.applied(model.tuning() if training else tuning.Tuning()), precision.applied(amp):
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
            if training:
                self._update(model)

    def _update(self, model):
        if not any(trainable for _, trainable in self.parameters.values()):
            raise ConfigError(f"TRAIN.freeze {list(model.tuning().freeze)} leaves no parameter of {model.name} to train; freeze less")
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
        """Record the update; returns where it is told whether a process wants to stop (None: there is only one process)."""
        stop = paddle.static.data("stop", [1], "float32") if self.group.world > 1 else None
        pairs, stop = self.group.mean_gradients(pairs, stop)
        if self.scale:
            pairs = self.scale.unscaled(pairs)
        self.optimizer.apply_gradients(pairs)
        return stop

    @property
    def shapes(self):
        """{parameter name: shape}."""
        return {name: shape for name, (shape, _) in self.parameters.items()}

    def accumulators(self):
        """Names of the optimizer's state variables, e.g. `conv1_weights_velocity_0`."""
        names = [variable.name for group in self.optimizer._accumulators.values() for variable in group.values()]
        return sorted(names + (list(LossScale.START) if self.scale else []))


class Device:
    """A place to run on and the scope that holds the variables of the graphs run there.

    `onednn` runs CPU kernels through oneDNN, which needs graphs that do not train: see `Model.onednn`. FLAGS_use_mkldnn=0 in the
    environment keeps it out.
    """

    def __init__(self, use_gpu=False, onednn=False):
        if use_gpu and not compat.gpu_available():
            raise ConfigError("use_gpu 'True': this Paddle cannot use a GPU here; pass --use_gpu=False, or install paddlepaddle-gpu")
        # Its backward pass crashes: on only while a device that asks for it runs.
        self.onednn = onednn and not use_gpu and compat.onednn_allowed()
        self.place = compat.place(use_gpu)
        if not use_gpu:         # one operator at a time: each uses all cores anyway, and a fifth less memory is held
            paddle.set_flags({"FLAGS_new_executor_serial_run": True})
        self.scope = paddle.static.Scope()
        self.executor = paddle.static.Executor(self.place)

    def initialise(self, graph, seed=None):
        """Fill the graph's variables from their initialisers; the same seed gives the same values."""
        if seed is not None:
            paddle.seed(seed)
        with paddle.static.scope_guard(self.scope):
            if graph.accumulation:
                self.executor.run(graph.accumulation.startup)
            self.executor.run(graph.startup)

    def run(self, graph, feed, fetch):
        """Run one batch. `feed`: {name: array}; `fetch`: values of the graph. Returns arrays in the order of `fetch`."""
        feed = {name: feed[name] for name in graph.feeds if name in feed}
        return self._run(graph.program, feed, fetch)

    def _run(self, program, feed, fetch):
        with paddle.static.scope_guard(self.scope), compat.onednn(self.onednn):
            return self.executor.run(program, feed=feed, fetch_list=list(fetch))

    def train(self, graph, feed, seeds, stop=False):
        """One update of a training graph by a batch. `seeds`: of the dropout masks, one a piece. `stop`: this process wants to.

        Returns (mean loss, probabilities [B, classes], whether any process wants to stop).
        """
        fetch, wish = [graph.loss, graph.probabilities], {}
        told = [] if graph.stop is None else [graph.stop]
        if told:
            wish = {"stop": np.array([stop], np.float32)}
        feed = {name: feed[name] for name in graph.feeds}
        if graph.pieces == 1:
            paddle.seed(seeds[0])
            loss, probabilities, *told = self._run(graph.program, {**feed, **wish}, fetch + told)
        else:
            losses, probabilities = [], []
            for part, seed in zip(_pieces(feed, graph.pieces), seeds, strict=True):
                paddle.seed(seed)
                for found, value in zip((losses, probabilities), self._run(graph.program, part, fetch), strict=True):
                    found.append(value)
            told = self._run(graph.accumulation.program, wish, told)
            loss, probabilities = np.mean(losses), np.concatenate(probabilities)
        return loss, probabilities, told[0][0] > 0 if told else stop

    def scores(self, graph, feed):
        """(probabilities, logits) [B, classes] of one batch."""
        return tuple(self.run(graph, feed, [graph.probabilities, graph.logits]))

    def get(self, names):
        """{name: array} of variables, copied out of the scope."""
        return {name: np.array(self._tensor(name)) for name in names}

    def set(self, values):
        """Overwrite variables, in their own precision; WeightsError where a shape or kind differs (Paddle would accept it in silence)."""
        for name, value in values.items():
            tensor = self._tensor(name)
            if tuple(tensor.shape()) != tuple(value.shape):
                raise WeightsError(f"'{name}' has shape {list(value.shape)}, the model wants {list(tensor.shape())}")
            dtype = np.array(tensor).dtype
            if value.dtype.kind != dtype.kind:
                raise WeightsError(f"'{name}' holds numbers of type {value.dtype}, the model wants {dtype}")
            tensor.set(np.ascontiguousarray(value, dtype), self.place)

    def _tensor(self, name):
        variable = self.scope.find_var(name)
        if variable is None:
            raise WeightsError(f"the model has no variable '{name}'")
        return variable.get_tensor()


def _widened(x):
    return paddle.cast(x, "float32")


def _pieces(feed, count):
    """{name: array} cut into `count` equal ones, in order."""
    size = len(next(iter(feed.values()))) // count
    return [{name: rows[i * size:(i + 1) * size] for name, rows in feed.items()} for i in range(count)]
