"""One training step: accumulation over pieces of a batch, 16-bit loss scaling, and exchange between processes.

Stepper(device, graph)(feed, rate, seed, stop)      one update by one batch
LossScale, Accumulation                             what engine/graph/program.py records for it in the graph
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import paddle
from paddle.nn.initializer import Constant
from paddle.static.amp.amp_nn import check_finite_and_unscale, update_loss_scaling

from engine.stop import StopSignal

__all__ = ["Accumulation", "LossScale", "Stepper", "pieces_of"]


class Stepper:
    """Makes updates with a training graph. Only this class knows that an update may take several runs of several
    programs, in several processes.
    """

    def __init__(self, device: Any, graph: Any):
        self.device = device
        self.graph = graph

    def __call__(
        self, feed: dict[str, np.ndarray], rate: float, seed: tuple[int, int], stop: StopSignal | None = None
    ) -> tuple[float, np.ndarray]:
        """One update by this process's part of a batch.

        feed: {name: array}, the batch as its reader delivers it
        rate: learning rate of the step
        seed: (seed of the training, number of the step); dropout masks depend on these, the process and the piece only
        stop: told whether any process was asked to stop
        Returns (mean loss, probabilities [B, classes]).
        """
        graph = self.graph
        graph.rate.set(rate)
        fetch = [graph.loss, graph.probabilities]
        feed = {name: feed[name] for name in graph.feeds}
        if graph.pieces == 1:
            self._seed(seed, 0)
            loss, probabilities, *told = self._run(graph.program, {**feed, **self._wish(stop)}, fetch + self._told())
        else:
            parts = []
            for number, piece in enumerate(pieces_of(feed, graph.pieces)):
                self._seed(seed, number)
                parts.append(self._run(graph.program, piece, fetch))
            told = self._run(graph.accumulation.program, self._wish(stop), self._told())
            losses, rows = zip(*parts, strict=True)
            loss = np.mean(losses)
            probabilities = np.concatenate(rows)
        if stop and told:
            stop.set_agreed(bool(told[0][0] > 0))
        return float(loss), probabilities

    def values(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """({name: array} of the parameters, the same of the optimizer's state), copied."""
        return self.device.get(self.graph.parameters), self.device.get(self.graph.accumulators())

    def broadcast(self) -> None:
        """Give every process the values of process 0."""
        if self.graph.group.world > 1:
            names = [*self.graph.parameters, *self.graph.accumulators()]
            self.device.set(self.graph.group.broadcast(self.device.get(names)))

    def average_statistics(self) -> None:
        """Give every process the mean of their batch norm statistics, since each process has seen other samples."""
        if self.graph.group.world > 1:
            names = [name for name, (_, trainable) in self.graph.parameters.items() if not trainable]
            self.device.set(self.graph.group.mean(self.device.get(names)))

    def _run(self, program, feed, fetch):
        return self.device.run_program(program, feed, fetch)

    def _seed(self, seed, piece):
        place = [self.graph.group.rank, piece] if self.graph.group.rank or piece else []
        paddle.seed(int(np.random.SeedSequence([*seed, *place]).generate_state(1)[0]))

    def _wish(self, stop):
        """The feed by which this process tells the others whether it was asked to stop."""
        if self.graph.stop is None:
            return {}
        return {"stop": np.array([stop is not None and stop.requested], np.float32)}

    def _told(self):
        """What to fetch to learn whether any process was asked to stop."""
        return [] if self.graph.stop is None else [self.graph.stop]


def pieces_of(feed: dict[str, np.ndarray], count: int) -> list[dict[str, np.ndarray]]:
    """{name: array} cut into `count` equal ones, in order."""
    size = len(next(iter(feed.values()))) // count
    return [{name: rows[i * size : (i + 1) * size] for name, rows in feed.items()} for i in range(count)]


class LossScale:
    """Keeps 16-bit gradients within the range of fp16 (Micikevicius et al., arXiv 1710.03740, section 3.2).

    The loss is multiplied by a factor and the gradients are divided by it. If any gradient is not finite, all count
    as zero and the factor is halved. The factor is a variable of the scope; with accumulation, both programs use it.
    """

    START = {"loss_scale": 2.0**15, "loss_scale_good_steps": 0, "loss_scale_bad_steps": 0}

    def scaled(self, loss: Any) -> Any:
        return loss * self._variables()[0]

    def unscaled(self, pairs: list[tuple]) -> list[tuple]:
        """[(parameter, gradient of the scaled loss)] -> [(parameter, gradient)].

        To be applied after gradients were averaged over the processes, so that all of them find the same.
        """
        scale, good, bad = self._variables()
        gradients, found = check_finite_and_unscale([gradient for _, gradient in pairs], scale)
        gradients = update_loss_scaling(
            gradients,
            found,
            scale,
            good,
            bad,
            incr_every_n_steps=1000,
            decr_every_n_nan_or_inf=1,
            incr_ratio=2.0,
            decr_ratio=0.5,
        )
        return [(parameter, gradient) for (parameter, _), gradient in zip(pairs, gradients, strict=True)]

    def _variables(self):
        return [
            paddle.pir.core.create_persistable_value(
                dtype="int32" if name.endswith("steps") else "float32",
                shape=[1],
                name=name,
                initializer=Constant(value),
            )
            for name, value in self.START.items()
        ]


class Accumulation:
    """Two programs instead of one: the network's adds the gradients of each piece to buffers; `program` applies their
    mean.

    pairs: what `optimizer.backward` returned in the program being built, to which the additions are appended
    Both programs share parameters and buffers through the scope, by name. `startup` initialises the optimizer's state
    and must run before the network's own startup program.
    """

    def __init__(self, pairs: list[tuple], pieces: int):
        self.parameters, self.pieces = [parameter for parameter, _ in pairs], pieces
        self.program, self.startup = paddle.static.Program(), paddle.static.Program()
        for parameter, gradient in pairs:
            total = _buffer(parameter)
            paddle.assign(total + gradient, total)

    @contextlib.contextmanager
    def building(self) -> Iterator[list[tuple]]:
        """Build `program` inside the block, from the (parameter, mean gradient) pairs given; then add emptying the
        buffers.
        """
        with paddle.static.program_guard(self.program, self.startup), paddle.utils.unique_name.guard():
            totals = [_buffer(parameter) for parameter in self.parameters]
            yield [
                (_again(parameter), total / self.pieces)
                for parameter, total in zip(self.parameters, totals, strict=True)
            ]
            for total in totals:
                paddle.assign(paddle.zeros_like(total), total)


def _buffer(parameter):
    attr = paddle.ParamAttr(name=f"{parameter.name}_accumulated", initializer=Constant(0.0), trainable=False)
    return paddle.create_parameter(list(parameter.shape), parameter.dtype, attr=attr)


def _again(parameter):
    """The same parameter in the program being built, with the attributes that the optimizer reads."""
    attr = paddle.ParamAttr(
        name=parameter.name,
        initializer=Constant(0.0),
        learning_rate=parameter.optimize_attr["learning_rate"],
        regularizer=parameter.regularizer,
        need_clip=parameter.need_clip,
    )
    return paddle.create_parameter(list(parameter.shape), parameter.dtype, attr=attr)
