"""Mutated inputs of every kind, read in a process of their own; benchmarks/attack.py starts it and counts what happens.

For each input it prints a JSON line before reading it, and one with the outcome: "read", "refused" (one sentence),
"changed" (a sealed file whose damage nobody noticed) or the traceback.
"""

import argparse
import json
import resource
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # their mutations and their small clips
from datareader import lists
from datareader.loader import Loader
from datareader.names import read_names
from engine import bad_samples
from engine.checkpoints import files as checkpoints
from engine.configuration import configure
from engine.weights import formats, load
from models import find
from support import mutations
from utils.errors import ZooError

GIB = 1 << 30
YAML = "MODEL:\n  num_classes: 4\n  class_names: null\nTRAIN:\n  batch_size: 2\n  lr_multipliers: {backbone: 0.1}\n"
INI = "[MODEL]\nnum_classes = 4\n[TRAIN]\nbatch_size = 2\nlearning_rate = 1e-3\n"
ARRAYS = {"fc_0.w_0": np.arange(32, dtype=np.float32).reshape(8, 4), "fc_0.b_0": np.zeros(4, np.float32)}
STATE = {
    "model": "TSN",
    "epoch": 3,
    "batch": 0,
    "step": 12,
    "seed": 5,
    "steps_per_epoch": 4,
    "best": {"key": "valid_top1", "value": 50.0, "epoch": 2},
    "history": [{"epoch": 0, "loss": 1.0}],
    "class_names": ["a", "b", "c", "d"],
    "paddle": "3.3.1",
}


class Names:
    """A dataset of one name, for the list of bad samples."""

    def __len__(self) -> int:
        return 3

    def name(self, index: int) -> str:
        return f"{index}.mp4"


def read_bad_samples(path: Path) -> None:
    (path.parent / "bad_samples.csv").write_bytes(path.read_bytes())
    loader = Loader(Names(), 1)
    loader.reject(0, "no good")
    bad_samples.write(path.parent, "train", loader, "TSN")


def read_eigenvalues(path: Path) -> None:
    model, config = configure("NEXTVLAD", overrides={"MODEL.eigen_file": str(path)})
    load.constants(model(config, "infer"))


def read_checkpoint(path: Path) -> str:
    """ "changed" if a checkpoint with a damaged file says something else than it did."""
    parameters, accumulators, state = checkpoints.load(path.parent / "TSN_latest")
    same = all(
        (parameters[name] == ARRAYS[name]).all() and (accumulators[name] == ARRAYS[name]).all() for name in ARRAYS
    )
    return "read" if same and all(state[key] == STATE[key] for key in STATE) else "changed"


def write_all(folder: Path) -> dict[Path, Callable]:
    """{file of a kind: function that reads it}."""
    kinds = mutations.write_all(folder)
    texts = {
        "clips.list": ("clips/a b.mp4 0\nc.mp4 1\n", lambda path: lists.read_clip_list(path, "TRAIN.filelist", 4)),
        "shards.list": ("a.tfrecord\nb.pkl\n", lambda path: lists.read_shard_list(path, "TRAIN.filelist")),
        "names.txt": ("0 rising\n1 falling\n2 zone\n", read_names),
        "vocabulary.csv": ("Index,KnowledgeGraphId,Name\n0,/m/a,Game\n1,/m/b,\n", read_names),
        "config.yaml": (YAML, lambda path: configure("TSN", path)),
        "config.ini.txt": (INI, lambda path: configure("TSN", path)),
        "bad.csv": ("list,sample,reason\nvalid,a.mp4,no good\n", read_bad_samples),
    }
    for name, (text, read) in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        kinds[folder / name] = read
    np.save(folder / "eigenvals.npy", np.ones((2048, 1), np.float32))
    kinds[folder / "eigenvals.npy"] = read_eigenvalues
    np.savez(folder / "weights.npz", **ARRAYS)
    shapes = {name: array.shape for name, array in ARRAYS.items()}
    kinds[folder / "weights.npz"] = lambda path: formats.read(path, shapes)
    state = {**STATE, "config": configure("TSN")[1].model_dump()}
    checkpoints.save(folder / "sealed" / "TSN_latest", ARRAYS, ARRAYS, state)
    for path in sorted((folder / "sealed").rglob("*")):
        if path.is_file():
            kinds[path] = read_checkpoint
    return kinds


def outcome(read: Callable, path: Path) -> str:
    try:
        return "changed" if read(path) == "changed" else "read"
    except ZooError:
        return "refused"
    except Exception:
        return traceback.format_exc(limit=-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=100)
    parser.add_argument("--memory", type=int, default=8, help="GiB of address space")
    args = parser.parse_args()
    find("TSN")  # loads Paddle, which needs address space of its own
    resource.setrlimit(resource.RLIMIT_AS, (args.memory * GIB, args.memory * GIB))
    with tempfile.TemporaryDirectory() as folder:
        kinds = write_all(Path(folder))
        contents = {path: path.read_bytes() for path in kinds}
        for path, read in kinds.items():
            if outcome(read, path) != "read":
                raise SystemExit(f"{path} cannot be read as it is: {outcome(read, path)}")
        for number in range(args.first, args.first + args.inputs):
            path = list(kinds)[number % len(kinds)]
            print(json.dumps({"input": number, "kind": path.name}), flush=True)
            path.write_bytes(mutations.mutated(contents[path], np.random.default_rng([args.seed, number])))
            print(json.dumps({"outcome": outcome(kinds[path], path)}), flush=True)
            path.write_bytes(contents[path])


if __name__ == "__main__":
    main()
