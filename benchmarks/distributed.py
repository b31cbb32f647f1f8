"""Seconds of a training step by several processes, with gradients averaged in flat buckets of several sizes.

    OMP_NUM_THREADS=1 python -m paddle.distributed.launch --nproc_per_node 2 benchmarks/distributed.py
    OMP_NUM_THREADS=1 python benchmarks/distributed.py --throughput   # and under the launcher: TSN's samples a second

A tiny input to a whole ResNet-50 (25.6 million parameters), so that the exchange of gradients is most of a step. `1` is
a bucket a parameter; `alone` leaves the exchange out.
"""

import sys
import time

import numpy as np

import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)
from engine.configuration import configure
from engine.distributed import group as distributed
from engine.distributed.launch import joined
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.graph.step import Stepper

SIZES = {"alone": None, "1": 1, "1 Mi": 1 << 20, "8 Mi": 8 << 20, "all": 1 << 40}


def seconds(group, clips=2, frames=1, size=32, steps=12):
    """Sorted times of steps, the first ones left out."""
    model, config = configure(
        "TSN",
        None,
        {"MODEL.num_classes": 2, "MODEL.seg_num": frames, "TRAIN.short_size": size, "TRAIN.target_size": size},
    )
    graph, device = Graph(model(config, "train"), training=True, group=group), Device()
    device.initialise(graph, seed=1)
    stepper = Stepper(device, graph)
    rng = np.random.default_rng(0)
    feed = {
        "frames": rng.integers(0, 255, (clips, frames, size, size, 3), np.uint8),
        "label": rng.integers(0, 2, (clips, 1)),
    }
    found = []
    for _ in range(steps + 3):
        started = time.perf_counter()
        stepper(feed, 0.0, (1, 0))
        found.append(time.perf_counter() - started)
    return sorted(found[3:])


def throughput(group, clips=8):
    """Print the clips a second of all processes, with `clips` of 3 frames at 112 pixels for each of them."""
    found = seconds(group, clips, frames=3, size=112)
    if group.is_main:
        total = clips * group.world
        best, median = (total / found[place] for place in (0, len(found) // 2))
        print(f"{group.world} processes, {total} clips a step: best {best:.2f}, median {median:.2f} clips/s")


def main():
    with joined() as group:
        if "--throughput" in sys.argv:
            return throughput(group)
        for name, size in SIZES.items():
            distributed.BUCKET = size
            found = seconds(group if size else None)
            group.wait()
            if group.is_main:
                print(f"{name:>6}: best {found[0]:.3f} s, median {found[len(found) // 2]:.3f} s")


if __name__ == "__main__":
    main()
