"""What pages cost: a test with and without one, and the report of 20,000 clips of 400 classes.

    OMP_NUM_THREADS=2 python benchmarks/pages.py --filelist=val.list --weights=checkpoints/TSN_best --rounds 4
    python benchmarks/pages.py --large

The first runs test.py with and without --no_report in turns, as processes of their own, and prints the median of each
and the median of the differences within a round. The second makes scores up.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CLIPS, CLASSES, BATCH = 20_000, 400, 50


def seconds(args, folder, *flags):
    """Wall time and CPU time of test.py."""
    command = [sys.executable, str(ROOT / "test.py"), f"--weights={args.weights}", f"--save_dir={folder}", *flags]
    if args.filelist:
        command += ["-o", f"TEST.filelist={args.filelist}"]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_with_and_without(args):
    plain, paged = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            for flags in (["--no_report"], []) if number % 2 else ([], ["--no_report"]):
                (plain if flags else paged).append(seconds(args, folder, *flags))
            print(f"round {number}: (wall, CPU) {plain[-1]} s without, {paged[-1]} s with a page", flush=True)
    for kind, name in enumerate(("wall", "CPU")):
        extra = statistics.median(b[kind] - a[kind] for a, b in zip(plain, paged, strict=True))
        middle = statistics.median(each[kind] for each in plain)
        print(f"{name}: median {middle:.2f} s; a page costs {extra:+.2f} s, {100 * extra / middle:+.1f} %")


def large():
    import numpy as np

    from metrics import METRICS
    from reports.evaluation import Classification
    from reports.pages import evaluation, page

    rng = np.random.default_rng(0)
    names = [f"class number {i}" for i in range(CLASSES)]
    kept, metric = Classification(), METRICS["clips"](CLASSES)
    frames = rng.integers(0, 256, (BATCH, 3, 224, 224, 3), np.uint8)
    spent = 0.0
    for start in range(0, CLIPS, BATCH):
        labels = rng.integers(0, CLASSES, BATCH)
        scores = rng.dirichlet(np.full(CLASSES, 0.05), BATCH).astype(np.float32)
        scores[np.arange(BATCH), labels] += rng.random(BATCH, np.float32)
        scores /= scores.sum(axis=1, keepdims=True)
        rows = list(range(start, start + BATCH))
        batch = types.SimpleNamespace(
            indices=rows, ids=[f"clips/{row}.mp4" for row in rows], labels=labels.tolist(), feed={"frames": frames}
        )
        started = time.perf_counter()
        kept.add(batch, scores)
        spent += time.perf_counter() - started
        metric.update(scores, labels, 1.0)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        kept.write(folder, "TSN", names, metric)
        found = evaluation.classification(kept, names, metric.result())
        path = evaluation.write(folder, "TSN", found, page.Facts(listed=CLIPS))[0]
        size = Path(path).stat().st_size
    took = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{CLIPS:,} clips x {CLASSES} classes: {took:.1f} s, and {spent:.1f} s while they are scored")
    print(f"peak {peak:.0f} MB, page {size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights")
    parser.add_argument("--filelist")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    if options.large:
        large()
    else:
        test_with_and_without(options)
