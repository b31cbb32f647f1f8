"""Cost of I3D and of TSN on EfficientNet-Lite0 on a CPU; ratios within one run.

    python benchmarks/released.py --clip clip.mp4 [--rounds 5]

Measures the CPU seconds and the peak memory of `infer.py --model_name=I3D` on one clip, with downloaded weights, and
the CPU seconds of the bare network's forward pass. Then the CPU milliseconds of TSN on 16 frames at 224 pixels:
ResNet-50, and EfficientNet-Lite0 in the static executor, exported, and in onnxruntime. All ways alternate; the best
round of each counts. Weights are random, except those of infer.py.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from inference import values

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"INFER.short_size": 256, "INFER.target_size": 224}
SEGMENTS = {**SIZES, "MODEL.seg_num": 16}
LITE = {**SEGMENTS, "MODEL.backbone": "efficientnet_lite0"}
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")


def loaded(name, overrides):
    """A model with random weights."""
    from engine.configuration import configure
    from engine.graph.program import Graph
    from engine.predictor import load_model

    model, config = configure(name, None, overrides)
    return load_model(name, None, values(Graph(model(config, "infer")).shapes), overrides, use_gpu=False)


def steps(folder):
    """{way: function that runs it once}."""
    from engine.export.run import load_exported
    from engine.export.write import export, random_feeds

    resnet, lite, i3d = loaded("TSN", SEGMENTS), loaded("TSN", LITE), loaded("I3D", SIZES)
    found = {"I3D, 64 frames": (i3d, random_feeds(i3d.model)[1])}
    feed = random_feeds(lite.model)[1]
    found |= {"ResNet-50": (resnet, feed), "Lite0": (lite, feed)}
    for title, form in (("Lite0 exported", "paddle"), ("Lite0 onnxruntime", "onnx")):
        export(lite, folder / form, form)
        found[title] = load_exported(folder / form, use_gpu=False), feed
    return {way: partial(model.run, feed) for way, (model, feed) in found.items()}


def cpu_times(ways, rounds):
    """{way: best CPU seconds of a round}."""
    best = dict.fromkeys(ways, np.inf)
    for step in ways.values():
        step()
    for _ in range(rounds):
        for way, step in ways.items():
            before = time.process_time()
            step()
            best[way] = min(best[way], time.process_time() - before)
    return best


def shell(clip, rounds):
    """(best CPU seconds, peak memory in GB) of infer.py on the clip."""
    words = [sys.executable, "infer.py", "--model_name=I3D", f"--video_path={clip}"]
    best, peak = np.inf, 0
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            child = subprocess.Popen([*words, f"--save_dir={folder}"], cwd=ROOT, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"infer.py ended with {child.returncode}")
        best = min(best, used.ru_utime + used.ru_stime)
        peak = max(peak, used.ru_maxrss / 1e6)
    return best, peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", required=True, type=lambda path: Path(path).resolve())
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    known = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    print(f"processor: {', '.join(name for name in FEATURES if name in known)}; {os.cpu_count()} cores")
    whole, peak = shell(args.clip, max(args.rounds // 2, 1))  # first: a child's peak includes what its parent held
    with tempfile.TemporaryDirectory() as folder:
        best = cpu_times(steps(Path(folder)), args.rounds)
    for way, seconds in best.items():
        print(f"{way:20} {1000 * seconds:8.0f} ms CPU")
    print(f"Lite0 / ResNet-50: {best['Lite0'] / best['ResNet-50']:.3f}")
    print(f"Lite0 exported / onnxruntime: {best['Lite0 exported'] / best['Lite0 onnxruntime']:.2f}")
    bare = best["I3D, 64 frames"]
    print(
        f"I3D in a shell: {whole:.1f} s CPU, bare network {bare:.1f} s; "
        f"at most 1.3 x that + 3 s = {1.3 * bare + 3:.1f} s is allowed"
    )
    print(f"peak memory of I3D in a shell: {peak:.2f} GB")


if __name__ == "__main__":
    main()
