"""Time until a model can answer, at the size of its shipped recipe: with its weights, and exported to Paddle and to
ONNX.

    python benchmarks/startup.py [MODEL ...]

Every line is of a process of its own, on random weights: importing, then building the program and reading the weights
(or loading the exported program), then the first batch of one sample. Given are CPU seconds / wall seconds of each.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)

ROOT = Path(__file__).resolve().parents[1]


def overrides(name):
    return {"MODEL.eigen_file": "none"} if name == "NEXTVLAD" else {}


def prepare(name, folder):
    """Weights, and both exports."""
    import numpy as np

    from engine.configuration import configure
    from engine.export import write as exporter
    from engine.graph.program import Graph
    from engine.predictor import load_model
    from engine.weights import formats

    model, config = configure(name, None, overrides(name))
    shapes = Graph(model(config, "infer")).shapes
    rng = np.random.default_rng(0)
    values = {
        key: 0.02 * rng.standard_normal(shape, np.float32) + np.float32(len(shape) == 1)
        for key, shape in shapes.items()
    }
    formats.save(folder / "weights.npz", values)
    trained = load_model(name, None, folder / "weights.npz", overrides(name), use_gpu=False)
    for form in ("paddle", "onnx"):
        exporter.export(trained, folder / form, form)


def child(name, way, folder):
    stamps = [(0.0, time.perf_counter() - time.process_time())]  # the interpreter's own start counts too

    def stamp():
        stamps.append((time.process_time(), time.perf_counter()))

    from engine.export.run import load_exported
    from engine.export.write import random_feeds
    from engine.predictor import load_model

    stamp()
    if way == "weights":
        network = load_model(name, None, folder / "weights.npz", overrides(name), use_gpu=False)
    else:
        network = load_exported(folder / way, use_gpu=False)
    stamp()
    feed = random_feeds(network.model)[1]
    stamp()
    network.run(feed)
    stamp()
    parts = [tuple(b - a for a, b in zip(*pair, strict=True)) for pair in zip(stamps, stamps[1:], strict=False)]
    cells = "".join(f"{f'{cpu:.1f} / {wall:.1f}':>14}" for cpu, wall in (parts[0], parts[1], parts[3]))
    print(f"{name:18}{way:10}{cells}", flush=True)


def main(names):
    from models import MODELS

    print(f"{'model':18}{'from':10}{'import':>14}{'load':>14}{'first batch':>14}")
    for name in names or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            for way in ("prepare", "weights", "paddle", "onnx"):
                words = [sys.executable, "-W", "ignore", __file__, "--child", name, way, folder]
                done = subprocess.run(words, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(done.stderr)
                print(
                    "".join(line for line in done.stdout.splitlines(True) if line.startswith(name)), end="", flush=True
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        name, way, folder = sys.argv[2:]
        if way == "prepare":
            prepare(name, Path(folder))
        else:
            child(name, way, Path(folder))
    else:
        main(sys.argv[1:])
