"""From clips to names by features: accuracy, time and CPU of extraction, training of heads, and cached backbones.

    python benchmarks/features_loop.py loso  ../data/actions [--model AttentionCluster] [--seeds 3]
    python benchmarks/features_loop.py extract ../data/actions
    python benchmarks/features_loop.py frozen ../data/actions [--seeds 5]

The folder holds train.list, val.list and classes.txt. `loso` leaves each recording sequence of UT-Interaction out once,
with features of EfficientNet-Lite0 (TSN). `extract` compares the CPU time of extract.py and infer.py on the same
frames. `frozen` trains the classifier of TSN on EfficientNet-Lite0 with and without cached features.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODELS = {"AttentionCluster": "attention_cluster", "AttentionLSTM": "attention_lstm", "NEXTVLAD": "nextvlad"}
SEQUENCE = r"set\d+_seq\d+"


def timed(*words):
    """(wall seconds, CPU seconds, output) of `python <words>`."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    if done.returncode:
        raise SystemExit(done.stdout)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout


def loso(data, args, folder):
    """Leave-one-sequence-out accuracy of feature models on Lite0's features, the first one from nothing."""
    for name in args.model or MODELS:
        wall, cpu, output = timed(
            "dataset/cross_validate.py",
            f"--model_name={name}",
            f"--config=configs/small/{MODELS[name]}.yaml",
            f"--features_from={args.features_from}",
            f"--filelist={data / 'train.list'}",
            f"--filelist={data / 'val.list'}",
            f"--group_by={SEQUENCE}",
            f"--seeds={args.seeds}",
            f"--save_dir={folder}",
            f"-oMODEL.class_names={data / 'classes.txt'}",
            "-oMODEL.num_classes=6",
            *[f"-o{each}" for each in args.override],
        )
        found = re.findall(r"seed \d+: top-1 ([\d.]+)", output)
        mean = sum(map(float, found)) / len(found)
        print(f"{name}: {', '.join(found)}, mean {mean:.1f} %; {wall:.0f} s, CPU {cpu:.0f} s", flush=True)


def extract(data, args, folder):
    """CPU of extraction against infer.py's, on 16 frames of each clip."""
    lists = [f"--filelist={data / 'val.list'}"]
    for _ in range(args.seeds):
        _, ours, _ = timed(
            "extract.py", "--model_name=TSN", "--rows=16", f"--save_dir={folder / str(time.time())}", *lists
        )
        weights = folder / "weights"
        if not weights.exists():
            timed(*FROZEN, *lists_of(data), "-oTRAIN.epoch=1", "-oTRAIN.cache_backbone=1", f"--save_dir={weights}")
        _, theirs, _ = timed(
            "infer.py",
            f"--weights={weights}/TSN_latest",
            f"--filelist={data / 'val.list'}",
            "-oINFER.seg_num=16",
            "--no_report",
            f"--save_dir={folder}",
        )
        print(f"extract.py {ours:.1f} s, infer.py {theirs:.1f} s of CPU: {ours / theirs:.2f}", flush=True)


FROZEN = (
    "train.py",
    "--model_name=TSN",
    "--config=configs/tsn_lite.yaml",
    "-oTRAIN.freeze=backbone",
    "-oMODEL.num_classes=6",
    "-oMODEL.seg_num=3",
    "--no_report",
    "--log_interval=0",
)


def lists_of(data):
    return [f"-oTRAIN.filelist={data / 'train.list'}", f"-oVALID.filelist={data / 'val.list'}"]


def frozen(data, args, folder):
    """20 epochs of frozen TSN: the slow way and with cached features, in the same run."""
    for seed in range(args.seeds):
        for views in args.views:
            save = folder / f"{views}_{seed}"
            wall, cpu, _ = timed(
                *FROZEN,
                *lists_of(data),
                f"-oTRAIN.cache_backbone={views}",
                f"-oTRAIN.seed={seed}",
                f"--save_dir={save}",
                *[f"-o{each}" for each in args.override],
            )
            history = json.loads((save / "TSN_latest.json").read_text())["history"]
            last, best = history[-1]["valid_top1"], max(row["valid_top1"] for row in history)
            text = f"seed {seed}, {views} views: last {last:.1f} %, best {best:.1f} %"
            print(f"{text}; {wall:.0f} s, CPU {cpu:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("loso", "extract", "frozen"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--features_from", default="TSN")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--views", type=int, nargs="+", default=[0, 8], help="of TRAIN.cache_backbone; 0: the slow way")
    parser.add_argument("--override", "-o", action="append", default=[], metavar="SECTION.key=value")
    parser.add_argument("--save_dir", type=Path, help="keep what is extracted here (default: nothing is kept)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"loso": loso, "extract": extract, "frozen": frozen}[args.what](
            args.data.resolve(), args, args.save_dir or Path(folder)
        )
    print(f"{os.cpu_count()} cores")


if __name__ == "__main__":
    main()
