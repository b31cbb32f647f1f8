"""The peephole LSTM against its own definition, unrolled: values and every gradient, for any length and batch."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from models.layers.lstm import STEPS, pad, peephole_lstm
from models.layers.named import parameter
from support import goldens

WIDTH, SIZE = 5, 6


def unrolled(x, weight, bias, frames):
    """The cell as the first Paddle computed it, for `frames` steps of x [B, T, 4*SIZE]."""
    biases, to_input, to_forget, to_output = paddle.split(bias, [4 * SIZE, SIZE, SIZE, SIZE], axis=1)
    hidden = cell = paddle.zeros_like(x[:, 0, :SIZE])
    steps = []
    for t in range(frames):
        g, i, f, o = paddle.split(x[:, t] + paddle.matmul(hidden, weight) + biases, 4, axis=1)
        cell = F.sigmoid(f + to_forget * cell) * cell + F.sigmoid(i + to_input * cell) * paddle.tanh(g)
        hidden = F.sigmoid(o + to_output * cell) * paddle.tanh(cell)
        steps.append(hidden)
    return paddle.stack(steps, axis=1)


class Program:
    """Hidden states of `layer` and the gradients of the input and the three parameters, on inputs of any shape."""

    def __init__(self, layer, differentiate=True):
        paddle.enable_static()
        self.program, self.startup = paddle.static.Program(), paddle.static.Program()
        with (
            goldens.precision("float64"),
            paddle.static.program_guard(self.program, self.startup),
            paddle.utils.unique_name.guard(),
        ):
            x, target = (
                paddle.static.data(name, [None, None, size]) for name, size in (("x", WIDTH), ("target", SIZE))
            )
            x.stop_gradient = False
            spread = paddle.nn.initializer.Uniform(-1.0, 1.0)
            weights = [
                parameter(name, shape, spread)
                for name, shape in (("into", [WIDTH, 4 * SIZE]), ("weight", [SIZE, 4 * SIZE]), ("bias", [1, 7 * SIZE]))
            ]
            hidden = layer(paddle.matmul(x, weights[0]), *weights[1:])
            self.fetch = [hidden]
            if differentiate:
                self.fetch += paddle.static.gradients([(hidden * target).sum()], [x, *weights])
        self.executor, self.scope = paddle.static.Executor(paddle.CPUPlace()), paddle.static.Scope()

    def __call__(self, batch, frames):
        rng = np.random.default_rng(frames)
        feed = {name: rng.standard_normal((batch, frames, size)) for name, size in (("x", WIDTH), ("target", SIZE))}
        with paddle.static.scope_guard(self.scope):
            paddle.seed(1)
            self.executor.run(self.startup)
            return self.executor.run(self.program, feed=feed, fetch_list=self.fetch)


@pytest.fixture(scope="module")
def trained():
    return Program(lambda x, weight, bias: peephole_lstm(x, weight, bias, training=True))


@pytest.mark.parametrize("batch, frames", [(3, 3 * STEPS), (1, STEPS), (2, 2 * STEPS)])
def test_values_and_gradients_equal_the_definition(trained, batch, frames):
    reference = Program(lambda x, weight, bias: unrolled(x, weight, bias, frames))
    for found, wanted in zip(trained(batch, frames), reference(batch, frames), strict=True):
        assert goldens.relative_error(found, wanted) < 1e-12


@pytest.mark.parametrize("frames", [2 * STEPS + 3, 1, STEPS - 1])
def test_lengths_between_turns(frames):
    """Without gradients, and through `pad`."""
    padded = Program(lambda x, weight, bias: peephole_lstm(pad(x), weight, bias, training=False), differentiate=False)
    reference = Program(lambda x, weight, bias: unrolled(x, weight, bias, frames), differentiate=False)
    found, wanted = padded(2, frames)[0], reference(2, frames)[0]
    assert found.shape[1] % STEPS == 0
    assert goldens.relative_error(found[:, :frames], wanted) < 1e-12
