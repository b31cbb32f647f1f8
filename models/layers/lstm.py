"""LSTM with peepholes (Gers and Schmidhuber, 2000). No fused kernel supports its weights, packed as in Paddle 1.x.

The forward pass is a loop over time with STEPS steps unrolled in each turn. The backward pass is a second loop,
written by hand. Paddle's automatic gradient takes twice as long on a CPU, because it adds up the weight's gradient
step by step. Under PIR (Paddle 3.3) it is also wrong: a value that a turn both uses and passes on loses part of its
gradient.
The state is [D, B], one column per video: a CPU multiplies a large matrix by a narrow one a third faster than the
other way round.
"""

import paddle
import paddle.nn.functional as F
from paddle.static.nn import static_pylayer, while_loop
from paddle.tensor.manipulation import tensor_array_to_tensor

from models.layers import options

Tensor = paddle.Tensor

STEPS = 10  # unrolled in each turn of the loop


def pad(x: Tensor) -> Tensor:
    """[B, T, D] -> [B, T', D], T' being the next multiple of STEPS; the last frame is repeated."""
    count = paddle.cast(paddle.shape(x)[1], "int64")
    index = paddle.arange((count + STEPS - 1) // STEPS * STEPS, dtype="int64")
    return paddle.gather(x, paddle.minimum(index, count - 1), axis=1)


def peephole_lstm(x: Tensor, weight: Tensor, bias: Tensor, training: bool) -> Tensor:
    """Hidden states [B, T, D] from projected inputs x [B, T, 4D]; T must be a multiple of STEPS.

    weight [D, 4D] is the recurrent one, its columns and those of x ordered candidate, input, forget, output;
    bias [1, 7D] holds the biases of these four, then the peepholes of the input, forget and output gate.
    """
    if not training:
        if options.current().portable:
            return _rows(_hidden(_columns(x), weight, bias))
        return _rows(_record(_columns(x), weight, bias, 1)[0])
    hidden, *record = _record(_columns(x.detach()), weight.detach(), bias.detach(), 6)
    hidden = _rows(hidden)
    for value in (hidden, *record):
        value.stop_gradient = True

    def forward(
        x, weight, bias, hidden, *record
    ):  # takes all that `backward` needs: the old IR frees what no operator asks for
        return _differentiable(paddle.assign(hidden))

    def backward(gradient):
        size = weight.shape[0]
        dx, dbias = _backward(_columns(gradient), weight, bias, *record)
        before = paddle.concat([paddle.zeros_like(hidden[:, :1]), hidden[:, :-1]], axis=1)
        dweight = paddle.matmul(
            paddle.reshape(before, [-1, size]), paddle.reshape(dx, [-1, 4 * size]), transpose_x=True
        )
        return dx, dweight, dbias, None, *[None] * len(record)

    return _differentiable(static_pylayer(forward, [x, weight, bias, hidden, *record], backward))


def _hidden(x, weight, bias):
    """x [T, 4D, B] -> hidden states [T, D, B]. They are a state of the loop, and copied in every turn."""

    def turn(n, hidden, cell, states):
        steps = advance(n, hidden, cell)
        return n + 1, *steps[-1][:2], paddle.scatter(states, _turn(n), paddle.stack([step[0] for step in steps]))

    advance, zero = _turn_of(x, weight, bias)
    return _loop(x, turn, zero, paddle.zeros_like(x[:, : weight.shape[0]]))[-1]


def _record(x, weight, bias, count):
    """x [T, 4D, B] -> the first `count` of hidden state, cell, candidate and the three gates, each [T, D, B]."""
    arrays = [_array(x) for _ in range(count)]

    def turn(n, hidden, cell):
        steps = advance(n, hidden, cell)
        for array, values in zip(arrays, zip(*steps, strict=True)):  # noqa: B905  (of the values, as many as wanted)
            paddle.tensor.array_write(paddle.stack(values), n, array)
        return n + 1, *steps[-1][:2]

    advance, zero = _turn_of(x, weight, bias)
    _loop(x, turn, zero)
    return [_joined(array) for array in arrays]


def _loop(x, turn, zero, *states):
    turns = _turns(x)
    return while_loop(
        lambda n, *_: n < turns, turn, [paddle.zeros([1], "int64"), zero, paddle.zeros_like(zero), *states]
    )


def _turn_of(x, weight, bias):
    """(function (n, hidden, cell) -> steps of turn n, each (hidden, cell, candidate, gates); first state [D, B])."""
    size = weight.shape[0]
    zero = paddle.zeros_like(x[0, :size])  # [D, B]
    to_input, to_forget, to_output = _peepholes(bias, zero)
    biases = paddle.reshape(bias[:, : 4 * size], [1, 4 * size, 1]) + paddle.zeros_like(x[:STEPS])
    recurrent = paddle.transpose(weight, [1, 0])  # [4D, D]

    def advance(n, hidden, cell):
        steps = []
        for gates in paddle.unbind(_slice(x, n) + biases):
            g, i, f, o = paddle.split(gates + paddle.matmul(recurrent, hidden), 4)
            g = paddle.tanh(g)
            i = F.sigmoid(i + to_input * cell)
            f = F.sigmoid(f + to_forget * cell)
            cell = f * cell + i * g
            o = F.sigmoid(o + to_output * cell)  # sees the new cell
            hidden = o * paddle.tanh(cell)
            steps.append((hidden, cell, g, i, f, o))
        return steps

    return advance, zero


def _backward(dhidden, weight, bias, cell, g, i, f, o):
    """Gradients of x [B, T, 4D] and bias [1, 7D], from that of the hidden states and the rest of `_record`."""
    size = weight.shape[0]
    zero = paddle.zeros_like(cell[0])
    to_input, to_forget, to_output = _peepholes(bias, zero)
    cells = paddle.concat([paddle.unsqueeze(zero, 0), cell])  # cells[t] is the cell before step t
    gradients = _array(cell)

    def turn(n, dh, dc, dbias):
        now, before, g_, i_, f_, o_ = (_slice(value, n) for value in (cell, cells, g, i, f, o))
        squashed = paddle.tanh(now)
        # Factors of the gradients, for all steps of the turn at once. From the cell to the gates:
        by_g, by_i, by_f = i_ * (1 - g_ * g_), g_ * i_ * (1 - i_), before * f_ * (1 - f_)
        back = f_ + to_input * by_i + to_forget * by_f  # from the cell to the cell before
        by_o = squashed * o_ * (1 - o_)  # from the hidden state to the output gate
        down = o_ * (1 - squashed * squashed) + to_output * by_o  # from the hidden state to the cell
        parts = [paddle.unbind(part) for part in (_slice(dhidden, n), by_g, by_i, by_f, by_o, down, back)]
        steps = []
        for arriving, g_t, i_t, f_t, o_t, down_t, back_t in reversed(list(zip(*parts, strict=True))):
            dh = dh + arriving
            dc = dc + dh * down_t
            steps.append(paddle.concat([dc * g_t, dc * i_t, dc * f_t, dh * o_t]))
            dh, dc = paddle.matmul(weight, steps[-1]), dc * back_t
        dgates = paddle.stack(steps[::-1])  # [STEPS, 4D, B]
        paddle.tensor.array_write(dgates, n, gradients)
        dpeepholes = dgates[:, size:] * paddle.concat([before, before, now], axis=1)
        return n - 1, dh, dc, dbias + paddle.concat([dgates, dpeepholes], axis=1).sum(axis=0)

    states = [_turns(cell) - 1, zero, paddle.zeros_like(zero), paddle.concat([zero] * 7)]
    dbias = while_loop(lambda n, *_: n >= 0, turn, states)[-1]
    return _rows(_joined(gradients)), paddle.unsqueeze(dbias.sum(axis=1), 0)


def _columns(x):
    return paddle.transpose(x, [1, 2, 0])  # [B, T, D] -> [T, D, B]


def _rows(x):
    return paddle.transpose(x, [2, 0, 1])  # [T, D, B] -> [B, T, D]


def _turns(x):
    return paddle.cast(paddle.shape(x)[:1], "int64") // STEPS


def _slice(x, n):
    """The steps of turn n: [T, ...] -> [STEPS, ...]."""
    return paddle.gather(x, _turn(n))


def _turn(n):
    return n * STEPS + paddle.arange(STEPS, dtype="int64")


def _array(like):
    """An empty array of tensors. A copy of one: Paddle 2.6 would keep what the last run left in the array itself."""
    return paddle.assign(paddle.tensor.create_array(like.dtype))


def _joined(array):
    return tensor_array_to_tensor(array, axis=0)[0]


def _peepholes(bias, zero):
    """Those of input, forget and output gate, each as wide as the state [D, B]: Paddle broadcasts slowly."""
    size = zero.shape[0]
    return [paddle.reshape(bias[:, n * size : (n + 1) * size], [size, 1]) + zero for n in (4, 5, 6)]


def _differentiable(value):
    value.stop_gradient = False
    return value
