"""Training by several processes under Paddle's launcher, as a user starts it."""

import os
import subprocess
import time
from pathlib import Path

from support import drivers


def start(count, folder, *words):
    """`count` processes running `python <words>`; the launcher's logs go to <folder>/log."""
    launcher = ["-m", "paddle.distributed.launch", f"--nproc_per_node={count}", f"--log_dir={folder}/log"]
    return drivers.start(*launcher, *words, start_new_session=True)


def finish(process, seconds=150):
    """(exit status, printed text); nothing is left running even where the process does not end."""
    try:
        output = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        for pid in [process.pid, *workers(process)]:
            os.kill(pid, 9)
        raise
    return process.returncode, output


def done(process):
    """The printed text of a process that must succeed."""
    status, output = finish(process)
    assert status == 0, output
    return output


def workers(process):
    """Process ids of what the launcher has started, in the order of their ranks."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            rank = [
                entry
                for entry in (folder / "environ").read_bytes().split(b"\0")
                if entry.startswith(b"PADDLE_TRAINER_ID=")
            ]
        except OSError:  # it has ended
            continue
        if parent == process.pid and rank:
            found[int(rank[0].partition(b"=")[2])] = int(folder.name)
    return [found[rank] for rank in sorted(found)]


def gone(pid, seconds=30):
    """Whether a process ends within that time; one that only waits for its parent to notice has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.1)
    return False
