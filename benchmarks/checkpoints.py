"""What a sealed checkpoint costs: an epoch's saves, against plain files with one fsync and one rename each.

    python benchmarks/checkpoints.py [--megabytes 100] [--rounds 7] [--folder /tmp]

`plain` writes what was written before checkpoints were sealed: parameters, optimizer state (as large) and a JSON with
the checksums of both, under their names by three renames, and links them as `_latest` and `_best`. `sealed` is what a
training does in an epoch: looks for numbers that are not finite, saves, links, and adds the scores. The two take turns.
"""

import json
import os
import pickle
import statistics
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

from engine.checkpoints import files
from utils import cli

STATE = {
    "epoch": 3,
    "batch": 0,
    "seed": 7,
    "steps_per_epoch": 1000,
    "best": None,
    "history": [{"epoch": epoch, "loss": 1.0, "top1": 50.0} for epoch in range(100)],
    "class_names": [f"class {i}" for i in range(400)],
    "config": {},
}


def plain(folder, parameters, accumulators):
    """As before: three files, written beside their names."""
    sums = {}
    contents = {".pdparams": parameters, ".pdopt": accumulators, ".json": None}
    for ending, content in contents.items():
        data = json.dumps({**STATE, "crc32": sums}, indent=2).encode() if content is None else pickle.dumps(content, 4)
        with open(folder / f"x_epoch0{ending}.new", "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sums[ending] = zlib.crc32(data)
    for ending in contents:
        os.replace(folder / f"x_epoch0{ending}.new", folder / f"x_epoch0{ending}")
    for name in ("latest", "best"):
        for ending in contents:
            os.link(folder / f"x_epoch0{ending}", folder / f"x_{name}{ending}.new")
        for ending in contents:
            os.replace(folder / f"x_{name}{ending}.new", folder / f"x_{name}{ending}")


def sealed(folder, parameters, accumulators):
    """As CheckpointManager does it."""
    if not all(np.isfinite(array).all() for array in parameters.values()):
        raise ValueError("not finite")
    files.save(folder / "x_epoch0", parameters, accumulators, STATE)
    files.link(folder / "x_epoch0", folder / "x_latest")
    scored = {**STATE, "batch": 1}
    files.link(folder / "x_epoch0", folder / "x_best", scored)
    files.rewrite(folder / "x_epoch0", scored, twin=folder / "x_best")
    files.rewrite(folder / "x_latest", scored, twin=folder / "x_epoch0")


def main():
    parser = cli.Parser(prog="checkpoints.py", description=__doc__)
    parser.add_argument("--megabytes", type=cli.at_least(1), default=100, help="of the parameters (default: 100)")
    parser.add_argument("--rounds", type=cli.at_least(1), default=7, help="saves of each kind (default: 7)")
    parser.add_argument("--folder", type=Path, help="where to write (default: the folder of temporary files)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    parameters, accumulators = (
        {f"w{i}": rng.standard_normal((args.megabytes * 2500,), np.float32) for i in range(100)} for _ in range(2)
    )
    seconds = {plain: [], sealed: []}
    processor = {plain: [], sealed: []}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for _ in range(args.rounds + 1):
            for way in seconds:
                started, used = time.perf_counter(), time.process_time()
                way(Path(folder), parameters, accumulators)
                seconds[way].append(time.perf_counter() - started)
                processor[way].append(time.process_time() - used)
    for title, found in (("wall", seconds), ("processor", processor)):
        one, other = (statistics.median(found[way][1:]) for way in (plain, sealed))
        print(f"{args.megabytes} MB, {title}: plain {one:.3f} s, sealed {other:.3f} s, ratio {other / one:.2f}")


if __name__ == "__main__":
    main()
