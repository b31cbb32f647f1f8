"""Updates from batches that are too large for the device: gradients of equal pieces are summed there, then applied once."""
import contextlib

import paddle
from paddle.nn.initializer import Constant


class Accumulation:
    """Two programs instead of one: the network's adds the gradients of each piece to buffers, `program` applies their mean.

    `pairs`: what `optimizer.backward` returned in the program being built, which gains the additions. Parameters and buffers are
    shared through the scope by their names. `startup` initialises the optimizer's state; run it before the network's.
    """

    def __init__(self, pairs, pieces):
        self.parameters, self.pieces = [parameter for parameter, _ in pairs], pieces
        self.program, self.startup = paddle.static.Program(), paddle.static.Program()
        for parameter, gradient in pairs:
            total = _buffer(parameter)
            paddle.assign(total + gradient, total)

    @contextlib.contextmanager
    def building(self):
        """Build `program` inside the block, from (parameter, mean gradient) pairs; behind it the buffers are emptied."""
        with paddle.static.program_guard(self.program, self.startup), paddle.utils.unique_name.guard():
            totals = [_buffer(parameter) for parameter in self.parameters]
            yield [(_again(parameter), total / self.pieces) for parameter, total in zip(self.parameters, totals, strict=True)]
            for total in totals:
                paddle.assign(paddle.zeros_like(total), total)


def _buffer(parameter):
    attr = paddle.ParamAttr(name=f"{parameter.name}_accumulated", initializer=Constant(0.0), trainable=False)
    return paddle.create_parameter(list(parameter.shape), parameter.dtype, attr=attr)


def _again(parameter):
    """The same parameter in the program being built, with what the optimizer wants to know of it."""
    attr = paddle.ParamAttr(name=parameter.name, initializer=Constant(0.0), learning_rate=parameter.optimize_attr["learning_rate"],
                            regularizer=parameter.regularizer, need_clip=parameter.need_clip)
    return paddle.create_parameter(list(parameter.shape), parameter.dtype, attr=attr)
