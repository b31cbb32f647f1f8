"""Faults and bad input on purpose, and what the project does about them, as a table (see docs/reliability.md).

    python benchmarks/attack.py                                   # all parts, about half an hour on two cores
    python benchmarks/attack.py mutations --inputs 5000 --seed 7
    python benchmarks/attack.py saves kills bombs

mutations: damaged files of every kind, each read in a child process with limited memory
bombs:     small files that claim gigabytes, each beside a good clip, read with 4 GiB of address space
threads:   answers of Predictors that threads share and build
saves:     an epoch's saves killed at each link, rename, fsync and write, and failing at each (needs strace)
kills:     training killed at some links, renames, fsyncs and writes of its saves (needs strace), then resumed
random:    training killed by SIGKILL at random moments, then resumed
writers:   two trainings, and two inferences, with one --save_dir
drips:     servers that send a byte every two seconds, over http and s3
The children run the tests' network of a thousand parameters. Exit status 1: something hung, died, was lost, ended with
a traceback or changed silently.
"""

import argparse
import json
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import attack_trainings
from attack_trainings import ENVIRONMENT, HANG_SECONDS, START_SECONDS

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # their small clips, bombs and servers
from support import bombs, saving, web
from support.goldens import ROOT
from utils.errors import ZooError

BAD = ("hang", "signal", "traceback", "changed")


def mutations(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of damaged files."""
    found, first = Counter(), 0
    while first < args.inputs:
        words = ["--seed", args.seed, "--first", first, "--inputs", args.inputs - first]
        first = _child(folder, "attack_inputs.py", words, found, first) + 1
    return found


def threads(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of answers that several threads ask for."""
    found = Counter()
    _child(folder, "attack_threads.py", ["--answers", args.answers], found, 0)
    return found


def _child(folder, program, words, found, first):
    """Count the outcomes that a program prints, until it ends, in `found`; the number of its last input."""
    child = subprocess.Popen(
        [sys.executable, ROOT / "benchmarks" / program, *map(str, words)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    last, kind = _follow(child, found, first)
    if child.returncode:
        print(f"{program}: input {last} ({kind}) ended the process with status {child.returncode}", flush=True)
    return last


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
            print(f"input {last} ({kind}): {what}", flush=True)
            what = "traceback"
        found[what] += 1
    else:
        found["hang"] += 1
        child.kill()
        child.wait()
        return last, kind
    if child.wait():
        found["signal" if child.returncode < 0 else "traceback"] += 1
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
    weights = attack_trainings.trained(folder)
    good = sorted((folder / "data").glob("*.mp4"))[0]
    limited = ["bash", "-c", 'ulimit -v 4194304; exec "$@"', "-"]
    found = Counter()
    for path in [*made, clips / "deep.pkl", clips / "doubling.pkl"]:
        words = ["infer.py", "--model_name=TINYNET", f"--weights={weights}", "--video_path", good, path]
        how, output = attack_trainings.run([*words, f"--save_dir={folder / 'out'}"], limited)
        found["lost" if how == "refused" and "classified 1 of 2" not in output else how] += 1
    return found


def saves(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of kills and errors at each system call of an epoch's saves."""
    found = Counter()
    if not shutil.which("strace"):
        print("saves: strace is not here; left out", flush=True)
        return found
    for kind in saving.CALLS:
        for what in ("signal=KILL", "error=EIO", "error=ENOSPC"):
            for number in range(1, args.calls + 1):
                place = folder / f"{kind}-{what}-{number}"
                saving.earlier(place)
                done = saving.child(place, kind, what, number)
                if not saving.met(place, done):  # it made fewer calls
                    break
                found[_saved(place, done)] += 1
    return found


def _saved(place, done):
    """What became of checkpoints whose writer was killed, or met an error, at a system call."""
    try:
        saving.settled(place)
    except ZooError as error:
        print(f"saves: {place.name}: {error}", flush=True)
        return "changed"
    if "Traceback" in done.stderr:
        print(f"saves: {place.name}: {done.stderr[-2000:]}", flush=True)
        return "traceback"
    return "refused" if done.returncode == 2 else "read"


def drips(folder: Path, args: argparse.Namespace) -> Counter:
    """Outcomes of weights from servers that send a byte every two seconds."""
    found = Counter()
    settings = {
        "ZOO_REMOTE_STALL": "4",
        "ZOO_REMOTE_TRIES": "1",
        "ZOO_CACHE": folder / "cache",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    for scheme in ("http", "s3"):
        for part in ("head", "headers", "body"):
            with web.Server() as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                server.files["bucket/w.pdparams"], server.drip[part], server.head = bytes(10_000), 2.0, True
                address = "s3://bucket/w.pdparams" if scheme == "s3" else server.url("bucket/w.pdparams")
                words = ["infer.py", "--model_name=TINYNET", f"--weights={address}", f"--video_path={folder}"]
                before = [f"{name}={value}" for name, value in settings.items()]
                before.append(f"AWS_ENDPOINT_URL={server.url('').rstrip('/')}")
                found[attack_trainings.run([*words, f"--save_dir={folder / 'out'}"], ["env", *before])[0]] += 1
                server.shutdown()
    return found


PARTS = {
    "mutations": mutations,
    "bombs": bombs_,
    "threads": threads,
    "saves": saves,
    "kills": attack_trainings.kills,
    "random": attack_trainings.random_kills,
    "writers": attack_trainings.writers,
    "drips": drips,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART", help="which parts (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inputs", type=int, default=2000, help="damaged files")
    parser.add_argument("--answers", type=int, default=400, help="answers that threads ask for")
    parser.add_argument("--calls", type=int, default=100, help="system calls of a kind in an epoch's saves, at most")
    parser.add_argument("--points", type=int, default=5, help="calls of each kind at which training is killed")
    parser.add_argument("--kills", type=int, default=20, help="kills at random moments")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of writers of each kind")
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
