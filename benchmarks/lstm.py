"""Speed of the peephole LSTM in a training step, against Paddle's own LSTM, which has no peepholes and cannot hold
the weights.

    OMP_NUM_THREADS=2 python benchmarks/lstm.py [--batch 4] [--frames 300] [--rounds 10]

Both project inputs of width 512 to the gates of 1024 units and update every weight. They take turns; the best round
counts.
"""

import argparse
import time

import numpy as np
import paddle

import utils.main_program  # noqa: F401  # isort: split  (process settings, before Paddle is imported)
from models.attention_lstm import lstm

WIDTH, UNITS = 512, 1024


class Step:
    """A training step of one layer: `layer` maps inputs [B, T, WIDTH] to hidden states [B, T, UNITS]."""

    def __init__(self, layer, feed):
        self.feed, self.scope = feed, paddle.static.Scope()
        self.program, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(self.program, startup), paddle.utils.unique_name.guard():
            x = paddle.static.data("x", [None, None, WIDTH])
            target = paddle.static.data("target", [None, None, UNITS])
            self.loss = (layer(x) * target).sum()
            paddle.optimizer.SGD(1e-6).minimize(self.loss)
        self.executor = paddle.static.Executor(paddle.CPUPlace())
        with paddle.static.scope_guard(self.scope):
            self.executor.run(startup)

    def seconds(self):
        started = time.perf_counter()
        with paddle.static.scope_guard(self.scope):
            self.executor.run(self.program, feed=self.feed, fetch_list=[self.loss])
        return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    paddle.enable_static()
    rng = np.random.default_rng(0)
    shape = args.batch, args.frames
    feed = {
        "x": rng.standard_normal((*shape, WIDTH), np.float32),
        "target": rng.standard_normal((*shape, UNITS), np.float32),
    }
    steps = {
        "paddle.nn.LSTM": Step(lambda x: paddle.nn.LSTM(WIDTH, UNITS)(x)[0], feed),
        "peephole LSTM": Step(lambda x: lstm(x, 0, 1, UNITS, training=True), feed),
    }
    for name, step in steps.items():
        print(f"{name}: first step, with preparing the graph, {step.seconds():.1f} s")
    times = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            times[name].append(step.seconds())
    fused, own = (min(taken) for taken in times.values())
    print(
        f"batch {args.batch}, {args.frames} frames, Paddle {paddle.__version__}: paddle.nn.LSTM {fused * 1e3:.0f} ms, "
        f"peephole LSTM {own * 1e3:.0f} ms, ratio {own / fused:.2f}"
    )


if __name__ == "__main__":
    main()
