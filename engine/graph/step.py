"""Updates from batches that are too large for the device: gradients of equal pieces are summed there, then applied once."""

import contextlib

import paddle
from paddle.nn.initializer import Constant
from paddle.static.amp.amp_nn import check_finite_and_unscale, update_loss_scaling


class LossScale:
    """Keeps 16-bit gradients off the limits of fp16: the loss is multiplied by a factor, the gradients are divided by it, and where
    one of them is not finite all count as zero and the factor is halved (Micikevicius et al., arXiv 1710.03740, section 3.2).

    The factor is a variable of the scope. In an accumulated update it is used by both programs.
    """

    START = {"loss_scale": 2.0**15, "loss_scale_good_steps": 0, "loss_scale_bad_steps": 0}

    def scaled(self, loss):
        return loss * self._variables()[0]

    def unscaled(self, pairs):
        """[(parameter, gradient of the scaled loss)] -> [(parameter, gradient)], after the average over processes, so that all of
        them find the same."""
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
    """The same parameter in the program being built, with what the optimizer wants to know of it."""
    attr = paddle.ParamAttr(
        name=parameter.name,
        initializer=Constant(0.0),
        learning_rate=parameter.optimize_attr["learning_rate"],
        regularizer=parameter.regularizer,
        need_clip=parameter.need_clip,
    )
    return paddle.create_parameter(list(parameter.shape), parameter.dtype, attr=attr)
