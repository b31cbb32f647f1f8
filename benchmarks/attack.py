"""Faults and bad input on purpose, and what the project does about them, as a table (see docs/reliability.md).

    python benchmarks/attack.py                                   # all parts, about half an hour on two cores
    python benchmarks/attack.py mutations --inputs 5000 --seed 7
    python benchmarks/attack.py kills bombs

mutations: damaged files of every kind, each read in a child process with limited memory
bombs:     small files that claim gigabytes, read with 4 GiB of address space
kills:     training killed at each link, rename, fsync and at some writes of its saves (needs strace), then resumed
random:    training killed by SIGKILL at random moments, then resumed
writers:   two trainings with one --save_dir
drips:     servers that send a byte every two seconds
The children run the tests' network of a thousand parameters. Exit status 1: something hung, died, ended with a
traceback or changed silently.
"""

import argparse
import json
import os
import random
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # their small clips, bombs and servers
from engine.checkpoints import files as checkpoints
from engine.checkpoints import finding
from support import bombs, drivers, tiny, web
from support.goldens import ROOT
from utils.errors import ZooError

HANG_SECONDS = 20.0
START_SECONDS = 60.0  # for importing Paddle, on a busy machine
CALLS = {"link": "link,linkat", "rename": "rename,renameat,renameat2", "fsync": "fsync,fdatasync", "write": "write"}
WRITES = 12  # writes at which training is killed, of its thousands
BAD = ("hang", "signal", "traceback", "changed")
ENVIRONMENT = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}


def mutations(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of damaged files."""
    found, first = Counter(), 0
    while first < args.inputs:
        words = ["--seed", args.seed, "--first", first, "--inputs", args.inputs - first]
        program = [sys.executable, ROOT / "benchmarks" / "attack_inputs.py", *words]
        child = subprocess.Popen(
            [str(word) for word in program],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        last, kind = _follow(child, found, first)
        if last + 1 < args.inputs or child.returncode:
            print(f"mutations: input {last} ({kind}) ended the process with status {child.returncode}", flush=True)
        first = last + 1
    return found


def _follow(child: subprocess.Popen, found: Counter, first: int) -> tuple[int, str]:
    """Count the outcomes that a child prints until it ends or hangs; (number, kind) of its last input."""
    last, kind, waiting = first, "none", selectors.DefaultSelector()
    waiting.register(child.stdout, selectors.EVENT_READ)
    seconds = START_SECONDS
    while waiting.select(seconds):
        line = child.stdout.readline()
        if not line:
            break
        if not line.startswith(b"{"):
            continue
        event = json.loads(line)
        if "input" in event:
            last, kind = event["input"], event["kind"]
            seconds = HANG_SECONDS
            continue
        what = event["outcome"]
        if what not in ("read", "refused", "changed"):
            print(f"mutations: input {last} ({kind}): {what}", flush=True)
            what = "traceback"
        found[what] += 1
    else:
        found["hang"] += 1
        child.kill()
    if child.wait() < 0 and not found["hang"]:
        found["signal"] += 1
    return last, kind


def bombs_(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of files that claim to be huge: each is one bad sample among good ones, or one sentence."""
    clips = folder / "clips"
    clips.mkdir()
    made = [
        bombs.long_mp4(clips / "long.mp4"),
        bombs.long_fragment(clips / "fragments.mp4"),
        bombs.wide_gif(clips / "wide.gif"),
        bombs.wide_pickle(clips / "wide.pkl"),
        bombs.wide_pickle(clips / "wider.pkl", 65500, 65500),
    ]
    (clips / "deep.pkl").write_bytes(b"\x85" * 3_000_000)
    (clips / "doubling.pkl").write_bytes(b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.")
    weights = _trained(folder)
    limited = ["bash", "-c", 'ulimit -v 4194304; exec "$@"', "-"]
    found = Counter()
    for path in [*made, clips / "deep.pkl", clips / "doubling.pkl"]:
        words = ["infer.py", "--model_name=TINYNET", f"--weights={weights}", f"--video_path={path}"]
        found[_ended(folder, [*words, f"--save_dir={folder / 'out'}"], limited)] += 1
    return found


def _ended(folder: Path, words: list, before: list = ()) -> str:
    """How a program ended: "refused" (status 1 or 2), "read" (status 0), "hang", "signal" or "traceback"."""
    command = [*before, *drivers.command(*words)]
    try:
        done = subprocess.run(
            command, env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=START_SECONDS + HANG_SECONDS
        )
    except subprocess.TimeoutExpired:
        return "hang"
    if done.returncode < 0 or done.returncode > 130:
        return "signal"
    if "Traceback" in done.stderr + done.stdout:
        print(f"{words[0]}: {done.stderr[-2000:]}", flush=True)
        return "traceback"
    return "refused" if done.returncode else "read"


def _words(folder: Path, name: str, *more: str) -> list[str]:
    """The words of a training of two epochs into folder/name."""
    clips = folder / "data" / "clips.list"
    if not clips.exists():
        tiny.make_clips(folder / "data")
    settings = tiny.flags({**tiny.TINY, **tiny.lists(clips), "TRAIN.epoch": 2, "TRAIN.seed": 3})
    return ["train.py", "--model_name=TINYNET", "--pretrain=none", f"--save_dir={folder / name}", *settings, *more]


def _trained(folder: Path) -> Path:
    """The checkpoint of an undisturbed training, which is the reference for the others."""
    prefix = folder / "reference" / "TINYNET_latest"
    if not (folder / "reference").exists():
        assert _ended(folder, _words(folder, "reference")) == "read", "an undisturbed training fails"
    return prefix


def _resumed(folder: Path, name: str) -> str:
    """How training goes on after it was killed: "read" if it ends with the parameters of the undisturbed one."""
    saved = any((folder / name).glob("TINYNET_latest*"))
    how = _ended(folder, _words(folder, name, *([f"--resume={folder / name / 'TINYNET_latest'}"] if saved else [])))
    if how == "refused":  # nothing whole was saved yet
        how = _ended(folder, _words(folder, name))
    if how != "read":
        return "lost" if how == "refused" else how
    try:
        found = checkpoints.load(finding.resolve(folder / name / "TINYNET_latest", "TINYNET"))[0]
    except ZooError as error:
        print(f"{name}: {error}", flush=True)
        return "lost"
    expected = checkpoints.load(finding.resolve(_trained(folder), "TINYNET"))[0]
    return "read" if all(np.array_equal(found[key], expected[key]) for key in expected) else "changed"


def kills(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of kills at the system calls of saves."""
    found = Counter()
    if not shutil.which("strace"):
        print("kills: strace is not here; left out", flush=True)
        return found
    _trained(folder)
    for call, names in CALLS.items():
        trace = folder / f"{call}.trace"
        subprocess.run(
            ["strace", "-f", "-qq", "-y", "-e", f"trace={names}", "-o", trace, *drivers.command(*_words(folder, call))],
            env=ENVIRONMENT,
            cwd=ROOT,
            capture_output=True,
        )
        lines = re.findall(rf"^.*\b(?:{names.replace(',', '|')})\(.*$", trace.read_text(errors="replace"), re.M)
        points = [number for number, line in enumerate(lines, 1) if f"{folder / call}" in line]
        if call == "write":
            points = random.Random(args.seed).sample(points, min(WRITES, len(points)))
        for point in points[: args.points]:
            name = f"{call}{point}"
            inject = ["strace", "-f", "-qq", "-e", f"trace={names}", "-e", f"inject={names}:signal=KILL:when={point}"]
            command = [*inject, "-o", os.devnull, *drivers.command(*_words(folder, name))]
            subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, capture_output=True)
            how = _resumed(folder, name)
            found[how] += 1
            if how != "read":
                print(f"kills: at {call} number {point}: {how}", flush=True)
            else:
                shutil.rmtree(folder / name)
    return found


def random_(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of kills at random moments of a training."""
    found, rng = Counter(), random.Random(args.seed)
    started = time.monotonic()
    _ended(folder, _words(folder, "timed"))
    whole = time.monotonic() - started
    for number in range(args.kills):
        child = subprocess.Popen(
            drivers.command(*_words(folder, f"random{number}")),
            env=ENVIRONMENT,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(0.3, 1.0) * whole)  # before that Paddle is imported
        child.kill()
        child.wait()
        found[_resumed(folder, f"random{number}")] += 1
    return found


def writers(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of two trainings in one folder: one is refused, or both are whole."""
    found, quiet = Counter(), {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for number in range(args.rounds):
        name = f"writers{number}"
        pair = [
            subprocess.Popen(drivers.command(*_words(folder, name)), env=ENVIRONMENT, cwd=ROOT, **quiet)
            for _ in range(2)
        ]
        statuses = sorted(child.wait() for child in pair)
        how = "signal" if statuses[0] < 0 else _resumed(folder, name)
        found["refused" if how == "read" and statuses == [0, 2] else how] += 1
    return found


def drips(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of weights from servers that send a byte every two seconds."""
    found = Counter()
    limits = {"ZOO_REMOTE_STALL": "4", "ZOO_REMOTE_TRIES": "1", "ZOO_CACHE": str(folder / "cache")}
    for part in ("headers", "body"):
        with web.Server() as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            server.files["w.pdparams"], server.drip[part] = bytes(10_000), 2.0
            words = [
                "infer.py",
                "--model_name=TINYNET",
                f"--weights={server.url('w.pdparams')}",
                f"--video_path={folder}",
            ]
            setting = [f"{name}={value}" for name, value in limits.items()]
            found[_ended(folder, [*words, f"--save_dir={folder / 'out'}"], ["env", *setting])] += 1
            server.shutdown()
    return found


PARTS = {
    "mutations": mutations,
    "bombs": bombs_,
    "kills": kills,
    "random": random_,
    "writers": writers,
    "drips": drips,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help="which parts (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=2000, help="damaged files")
    parser.add_argument("--points", type=int, default=100, help="kills at each kind of system call, at most")
    parser.add_argument("--kills", type=int, default=20, help="kills at random moments")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of writers")
    args = parser.parse_args()
    wrong = 0
    rows = []
    for name in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            found = PARTS[name](Path(folder), args)
            seconds = time.monotonic() - started
        wrong += sum(found[key] for key in (*BAD, "lost"))
        rows.append(
            [name, sum(found.values()), *(found[key] for key in ("read", "refused", "lost", *BAD)), f"{seconds:.0f}"]
        )
    head = ["part", "inputs", "as it was", "refused", "lost", *BAD, "seconds"]
    for row in [head, *rows]:
        print("".join(f"{cell!s:>11}" for cell in row))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
