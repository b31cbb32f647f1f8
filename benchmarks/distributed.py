"""Seconds of a training step by several processes, with gradients averaged in flat buckets of several sizes.

    OMP_NUM_THREADS=1 python -m paddle.distributed.launch --nproc_per_node 2 benchmarks/distributed.py

A tiny input to a whole ResNet-50 (25.6 million parameters), so that the exchange of gradients is most of a step. `1` is a bucket a
parameter; `alone` leaves the exchange out.
"""
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from engine import distributed
from engine.configuration import configure
from engine.graph import Device, Graph

SIZES = {"alone": None, "1": 1, "1 Mi": 1 << 20, "8 Mi": 8 << 20, "all": 1 << 40}


def seconds(group, steps=12):
    """Sorted times of steps, the first ones left out."""
    model, config = configure("TSN", None, {"MODEL.num_classes": 2, "MODEL.seg_num": 1, "TRAIN.short_size": 36, "TRAIN.target_size": 32})
    graph, device = Graph(model(config, "train"), training=True, group=group), Device()
    device.initialise(graph, seed=1)
    rng = np.random.default_rng(0)
    feed = {"frames": rng.integers(0, 255, (2, 1, 32, 32, 3)).astype("uint8"), "label": np.array([[0], [1]])}
    found = []
    for _ in range(steps + 3):
        started = time.perf_counter()
        device.train(graph, feed, [1])
        found.append(time.perf_counter() - started)
    return sorted(found[3:])


def main():
    with distributed.joined() as group:
        for name, size in SIZES.items():
            distributed.BUCKET = size
            found = seconds(group if size else None)
            group.wait()
            if group.first:
                print(f"{name:>6}: best {found[0]:.3f} s, median {found[len(found) // 2]:.3f} s")


if __name__ == "__main__":
    main()
