"""Trainings that are killed or meet each other, for benchmarks/attack.py.

Each function returns a Counter of outcomes: "read" (as it was, the same parameters after resuming), "refused" (one
sentence), "lost", "hang", "signal", "traceback" or "changed".
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # their small clips and network
from engine.checkpoints import files as checkpoints
from engine.checkpoints import finding
from support import drivers, saving, tiny
from support.goldens import ROOT
from utils.errors import ZooError

HANG_SECONDS = 20.0
STEP_SECONDS = 0.02  # of processor time that count as progress
MOST_SECONDS = 60.0  # of processor time that a program may take
START_SECONDS = 60.0  # for importing Paddle, on a busy machine
ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


def run(program: list, before: Sequence = ()) -> tuple[str, str]:
    """How a program ended, and what it printed.

    "refused" (status 1 or 2), "read" (status 0), "hang", "signal" or "traceback"
    """
    with tempfile.TemporaryFile("w+", errors="replace") as printed:
        child = subprocess.Popen(
            [*before, *drivers.command(*program)], env=ENVIRONMENT, cwd=ROOT, stdout=printed, stderr=printed
        )
        hung = _hangs(child)
        printed.seek(0)
        output = printed.read()
    if hung:
        return "hang", output
    if child.returncode < 0 or child.returncode > 130:
        return "signal", output
    if "Traceback" in output:
        print(f"{program[0]}: {output[-2000:]}", flush=True)
        return "traceback", output
    return "refused" if child.returncode else "read", output


def _hangs(child: subprocess.Popen) -> bool:
    """Wait for a process; end it, and return True, if it makes no progress.

    That is: no processor time within HANG_SECONDS, or more than MOST_SECONDS of it in all. The clock would call a
    program hung that a busy machine does not let run.
    """
    used, since = 0.0, time.monotonic()
    while child.poll() is None:
        time.sleep(0.2)
        now = _processor_seconds(child.pid)
        if now >= used + STEP_SECONDS:
            used, since = now, time.monotonic()
        if used > MOST_SECONDS or time.monotonic() > since + HANG_SECONDS:
            child.kill()
            child.wait()
            return True
    return False


def _processor_seconds(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended, or this is not Linux
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def words(folder: Path, name: str, *more: str) -> list[str]:
    """The words of a training of two epochs into folder/name."""
    clips = folder / "data" / "clips.list"
    if not clips.exists():
        tiny.make_clips(folder / "data")
    settings = tiny.flags({**tiny.TINY, **tiny.lists(clips), "TRAIN.epoch": 2, "TRAIN.seed": 3})
    return ["train.py", "--model_name=TINYNET", "--pretrain=none", f"--save_dir={folder / name}", *settings, *more]


def trained(folder: Path) -> Path:
    """The checkpoint of an undisturbed training, which is the reference for the others."""
    prefix = folder / "reference" / "TINYNET_latest"
    if not (folder / "reference").exists():
        assert run(words(folder, "reference"))[0] == "read", "an undisturbed training fails"
    return prefix


def resumed(folder: Path, name: str) -> str:
    """How training goes on after it was killed: "read" if it ends with the parameters of the undisturbed one."""
    saved = any((folder / name).glob("TINYNET_latest*"))
    how = run(words(folder, name, *([f"--resume={folder / name / 'TINYNET_latest'}"] if saved else [])))[0]
    if how == "refused":  # nothing whole was saved yet
        how = run(words(folder, name))[0]
    if how != "read":
        return "lost" if how == "refused" else how
    try:
        found = checkpoints.load(finding.resolve(folder / name / "TINYNET_latest", "TINYNET"))[0]
    except ZooError as error:
        print(f"{name}: {error}", flush=True)
        return "lost"
    expected = checkpoints.load(finding.resolve(trained(folder), "TINYNET"))[0]
    return "read" if all(np.array_equal(found[key], expected[key]) for key in expected) else "changed"


def kills(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of kills at the system calls of saves."""
    found = Counter()
    if not shutil.which("strace"):
        print("kills: strace is not here; left out", flush=True)
        return found
    trained(folder)
    for call, names in saving.CALLS.items():
        trace = folder / f"{call}.trace"
        subprocess.run(
            ["strace", "-f", "-qq", "-y", "-e", f"trace={names}", "-o", trace, *drivers.command(*words(folder, call))],
            env=ENVIRONMENT,
            cwd=ROOT,
            capture_output=True,
        )
        lines = re.findall(rf"^.*\b(?:{names.replace(',', '|')})\(.*$", trace.read_text(errors="replace"), re.M)
        points = [number for number, line in enumerate(lines, 1) if f"{folder / call}" in line]
        for point in random.Random(args.seed).sample(points, min(args.points, len(points))):
            name = f"{call}{point}"
            inject = ["strace", "-f", "-qq", "-e", f"trace={names}", "-e", f"inject={names}:signal=KILL:when={point}"]
            command = [*inject, "-o", os.devnull, *drivers.command(*words(folder, name))]
            subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True)
            how = resumed(folder, name)
            found[how] += 1
            if how != "read":
                print(f"kills: at {call} number {point}: {how}", flush=True)
            else:
                shutil.rmtree(folder / name)
    return found


def random_kills(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of kills at random moments of a training."""
    found, rng = Counter(), random.Random(args.seed)
    started = time.monotonic()
    run(words(folder, "timed"))
    whole = time.monotonic() - started
    for number in range(args.kills):
        child = subprocess.Popen(
            drivers.command(*words(folder, f"random{number}")),
            env=ENVIRONMENT,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(0.3, 1.0) * whole)  # before that Paddle is imported
        child.kill()
        child.wait()
        found[resumed(folder, f"random{number}")] += 1
    return found


def writers(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of two trainings, and of two inferences, in one folder: one is refused, or both are whole."""
    found = Counter()
    for number in range(args.rounds):
        name = f"writers{number}"
        statuses = _pair(words(folder, name))
        how = "signal" if statuses[0] < 0 else resumed(folder, name)
        found["refused" if how == "read" and statuses == [0, 2] else how] += 1
    clips = [f"--weights={trained(folder)}", f"--video_path={folder / 'data'}", f"--save_dir={folder / 'inferred'}"]
    for _ in range(args.rounds):
        statuses = _pair(["infer.py", "--model_name=TINYNET", *clips])
        found[{(0, 2): "refused", (0, 0): "read"}.get(tuple(statuses), "lost")] += 1
    return found


def _pair(program: list) -> list[int]:
    """The exit statuses of two processes that are started together, sorted."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    pair = [subprocess.Popen(drivers.command(*program), env=ENVIRONMENT, cwd=ROOT, **quiet) for _ in range(2)]
    return sorted(child.wait() for child in pair)
