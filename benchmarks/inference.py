"""Speed of inference on a CPU: ResNet-50 TSN, one video of 8 frames at 224 pixels, in every way that this zoo can
run it, and PyTorch's.

    python benchmarks/inference.py [--rounds 10] [--torch PYTHON]

The ways take turns, each in a process of its own that is otherwise asleep; the best round of each counts. Given are
wall and CPU milliseconds, the ratio of the wall times to the exported program's in fp32, and the largest difference of
the logits from the static executor's. PyTorch is not needed: --torch names a Python that has it (2.x), and then the
bare ResNet-50 on 8 normalised frames is timed there, eager and channels_last. onnxruntime needs the extra `onnx`; bf16
a CPU that has it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OVERRIDES = {"MODEL.seg_num": 8, "INFER.short_size": 256, "INFER.target_size": 224}
OURS = {
    "exported fp32": ("paddle", "fp32"),
    "exported bf16": ("paddle", "bf16"),
    "onnxruntime": ("onnx", "fp32"),
    "static executor": ("", ""),
}
TORCH = ("torch eager", "torch channels_last")


def values(shapes):
    """Random weights under which the logits stay of order one."""
    import numpy as np

    rng = np.random.default_rng(0)
    return {
        name: (
            1 + 0.05 * rng.standard_normal(shape)
            if len(shape) == 1
            else rng.standard_normal(shape) / np.sqrt(shape[0] if len(shape) == 2 else np.prod(shape[1:]))
        ).astype(np.float32)
        for name, shape in sorted(shapes.items())
    }


def trained():
    from engine.configuration import configure
    from engine.graph.program import Graph
    from engine.predictor import load_model

    model, config = configure("TSN", None, OVERRIDES)
    return load_model("TSN", None, values(Graph(model(config, "infer")).shapes), OVERRIDES, use_gpu=False)


def our_step(way, folder):
    """A function without arguments that returns the logits."""
    from engine.export.run import load_exported
    from engine.export.write import random_feeds

    form, precision = OURS[way]
    network = load_exported(folder / form, use_gpu=False, precision=precision) if form else trained()
    feed = random_feeds(network.model)[1]
    return lambda: network.run(feed)[1]


def torch_step(way):
    """The same for a ResNet-50 on ready frames."""
    import torch
    from torch_networks import resnet50

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    model = resnet50(400).eval()
    frames = torch.randn(8, 3, 224, 224)
    if way.endswith("channels_last"):
        model, frames = model.to(memory_format=torch.channels_last), frames.to(memory_format=torch.channels_last)

    def step():
        with torch.inference_mode():
            return model(frames).numpy()

    return step


def serve(way, folder):
    """Answer each line on standard input by a run: wall and CPU seconds, and the logits, as one line of JSON."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes elsewhere
    step = torch_step(way) if way in TORCH else our_step(way, Path(folder))
    step()
    pipe.write("ready\n")
    pipe.flush()
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        logits = step()
        print(
            json.dumps([time.perf_counter() - wall, time.process_time() - cpu, logits.ravel().tolist()]),
            file=pipe,
            flush=True,
        )


def ask(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has PyTorch")
    args = parser.parse_args()
    import utils.main_program  # noqa: F401  (the threads, for all processes)
    from engine.export import write as exporter
    from engine.graph import compat

    with tempfile.TemporaryDirectory() as folder:
        network = trained()
        for form in ("paddle", "onnx"):
            difference = exporter.export(network, Path(folder) / form, form)
            print(f"exported to {form}: largest relative difference {difference:.1e}", flush=True)
        del network
        ways = [way for way in OURS if "bf16" not in way or compat.bfloat16_available()]
        pythons = {**dict.fromkeys(ways, sys.executable), **dict.fromkeys(TORCH if args.torch else (), args.torch)}
        workers = {
            way: subprocess.Popen(
                [python, "-W", "ignore", __file__, "--serve", way, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for way, python in pythons.items()
        }
        try:
            report(measure(workers, args.rounds))
        finally:
            for worker in workers.values():
                worker.stdin.close()
                worker.wait()


def measure(workers, rounds):
    """{way: [(wall, CPU, logits)]}, the ways in turn."""
    for way, worker in workers.items():
        if worker.stdout.readline() != "ready\n":
            raise SystemExit(f"'{way}' did not start")
    runs = {way: [] for way in workers}
    for _ in range(rounds):
        for way, worker in workers.items():
            runs[way].append(ask(worker))
    return runs


def largest_difference(logits, exact):
    return max(abs(a - b) for a, b in zip(logits, exact, strict=True)) / max(map(abs, exact))


def report(runs):
    best = {way: [min(column) for column in list(zip(*taken, strict=True))[:2]] for way, taken in runs.items()}
    exact = runs["static executor"][0][2]
    fp32 = best["exported fp32"]
    print(f"{'way':22}{'wall ms':>9}{'CPU ms':>9}{'ratio':>8}{'CPU ratio':>11}{'difference':>12}")
    for way, (wall, cpu) in best.items():
        shown = "" if way in TORCH else f"{largest_difference(runs[way][0][2], exact):.1e}"
        print(f"{way:22}{1000 * wall:9.0f}{1000 * cpu:9.0f}{wall / fp32[0]:8.2f}{cpu / fp32[1]:11.2f}{shown:>12}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
