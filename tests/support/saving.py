"""An epoch's saves as CheckpointManager makes them, by a process whose system calls fail or kill it (with strace).

    python tests/support/saving.py FOLDER

The earlier checkpoint holds ones and stands at epoch 3, the new one holds twos and stands at epoch 4. This does not
import Paddle, so a process takes half a second.
"""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from engine.checkpoints import files, parts  # noqa: E402
from utils.errors import CheckpointError, ZooError  # noqa: E402

STATE = {
    "epoch": 3,
    "batch": 0,
    "seed": 7,
    "steps_per_epoch": 2,
    "best": None,
    "history": [],
    "class_names": ["a", "ü"],
    "config": {"TRAIN": {"batch_size": 4}},
}
CALLS = {"link": "link,linkat", "rename": "rename,renameat,renameat2", "fsync": "fsync,fdatasync", "write": "write"}


def write(prefix: Path, value: float = 1.0, **state) -> None:
    """A small checkpoint; `state`: what differs from STATE."""
    values = np.full((2, 3), value, np.float32)
    files.save(prefix, {"w": values}, {f"v{value:g}": values}, {**STATE, **state})


def earlier(folder: Path) -> None:
    """The checkpoint of epoch 3 under its three names."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "TSN_epoch3")
    for name in ("latest", "best"):
        files.link(folder / "TSN_epoch3", folder / f"TSN_{name}")


def epoch(folder: Path) -> None:
    """What a training saves at the end of epoch 4."""
    new, best, latest = (folder / f"TSN_{name}" for name in ("epoch4", "best", "latest"))
    write(new, 2.0, epoch=4)
    files.link(new, latest)
    scored = {**STATE, "epoch": 4, "history": [{"epoch": 3, "valid_top1": 50.0}]}
    files.link(new, best, scored)
    files.rewrite(new, scored, twin=best)
    files.rewrite(latest, scored, twin=new)


def stands(folder: Path) -> dict[str, int]:
    """{name of a checkpoint: epoch where it stands}. Raises CheckpointError where one is not wholly one of the two."""
    found = {}
    for name in ("epoch3", "epoch4", "latest", "best"):
        if name != "epoch4" or (folder / "TSN_epoch4.json").exists():
            parameters, accumulators, state = files.load(folder / f"TSN_{name}")
            value = state["epoch"] - 2
            same = (parameters["w"] == value).all() and list(accumulators) == [f"v{value}"]
            if not (same and (accumulators[f"v{value}"] == value).all()):
                raise CheckpointError(f"'{folder}': '{name}' is made of two")
            found[name] = state["epoch"]
    return found


def settled(folder: Path) -> dict[str, int]:
    """`stands` before and after the next writer has finished or removed what was left, which must be the same."""
    before = stands(folder)
    parts.settle(folder, "TSN")
    leftovers = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    if leftovers or stands(folder) != before:
        raise CheckpointError(f"'{folder}': '{before}' became '{stands(folder)}', left '{leftovers}'")
    for name, at in before.items():  # other programs find the same values at the plain name
        with open(folder / f"TSN_{name}.pdparams", "rb") as file:
            if not (pickle.load(file)["w"] == at - 2).all():
                raise CheckpointError(f"'{folder}': '{name}.pdparams' is not what its JSON says")
    return before


def child(folder: Path, kind: str, what: str, number: int) -> subprocess.CompletedProcess:
    """`epoch` in a process in which the system call `number` of a kind meets `what`: "signal=KILL", "error=EIO"."""
    calls = CALLS[kind]
    words = [
        "strace",
        "-f",
        "-qq",
        "-o",
        _trace(folder),
        "-e",
        f"trace={calls}",
        "-e",
        f"inject={calls}:{what}:when={number}",
    ]
    return subprocess.run(
        [*words, sys.executable, "-B", __file__, folder], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def met(folder: Path, done: subprocess.CompletedProcess) -> bool:
    """Whether a `child` came to the call at which something was to happen."""
    return done.returncode != 0 or "INJECTED" in _trace(folder).read_text(errors="replace")


def _trace(folder):
    return folder.with_name(f"{folder.name}.trace")


if __name__ == "__main__":
    try:
        epoch(Path(sys.argv[1]))
    except ZooError as error:
        print(error)
        sys.exit(2)
