"""python bf16_steps.py CASES: trains five steps in 32 bits and five in bf16 from the same weights.

CASES: JSON of [[model, settings], ...]. Prints {precision: losses} of each as a line of JSON. It runs as a process of
its own, because a broken kernel crashes the process.
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def batch(graph, model, size=4, frames=12):
    """A feed of random bytes and of labels 0, 1, 2, 0, ..."""
    rng = np.random.default_rng(0)
    feed = {}
    for name, value in graph.inputs.items():
        shape = [size] + [frames if length < 0 else length for length in value.shape[1:]]
        feed[name] = np.full(size, frames) if name == "length" else rng.integers(0, 255, shape, np.uint8)
    classes = np.arange(size) % model.settings.num_classes
    feed["label"] = np.eye(model.settings.num_classes, dtype=np.float32)[classes]
    if model.data == "clips":
        feed["label"] = classes[:, None]
    return feed


def losses(name, settings, amp):
    """The losses of five steps; the parameters must have 32 bits."""
    model_class, config = configure(name, None, settings)
    model, pieces = model_class(config, "train"), config.TRAIN.accumulate_steps
    graph, device = Graph(model, training=True, amp=amp, pieces=pieces), Device()
    device.initialise(graph, seed=1)
    step, feed = Stepper(device, graph), batch(graph, model)
    found = [step(feed, 1e-3, (1, 0))[0] for _ in range(5)]
    if {array.dtype for array in device.get(graph.parameters).values()} != {np.dtype(np.float32)}:
        sys.exit("a parameter has not 32 bits")
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from engine.configuration import configure
    from engine.graph.device import Device
    from engine.graph.program import Graph
    from engine.graph.step import Stepper

    for name, settings in json.loads(sys.argv[1]):
        print(json.dumps({str(amp or "float32"): losses(name, settings, amp) for amp in (None, "bf16")}), flush=True)
