"""Processes end together, each with the reason: two processes that only hold a lifeline."""
import subprocess
import sys

import pytest

from support.goldens import ROOT

TWO = """
import json, os, socket, sys, time
from engine.lifeline import DONE, Lifeline
down, up = os.pipe()
rank = 0 if os.fork() else 1
def share(value):
    if rank:
        return json.loads(pipe.readline())
    os.write(up, (json.dumps(value) + "\\n").encode())
    if isinstance(value, list):                 # someone else finds the open port
        stranger = socket.create_connection(value)
        stranger.sendall(b"x" * 40)
    return value
pipe = os.fdopen(down)
line = Lifeline(rank, 2, "127.0.0.1", share)
fated, fate = int(sys.argv[1]), sys.argv[2]
if rank == fated:
    time.sleep(0.2)
    if fate != "dies":
        line.leave(fate.encode())
    os._exit(0)
time.sleep(1.5 if fate == "done" else 20)
print(f"process {rank} went on")
os._exit(0)
"""


@pytest.mark.parametrize("fated", [0, 1])
@pytest.mark.parametrize("fate, said", [("dies", "error: process {} of 2 died"), ("DataError: 'é' is bad", "error: DataError: 'é' is bad"),
                                        ("done", "went on")])
def test_the_other_one_learns_why(fated, fate, said):
    done = subprocess.run([sys.executable, "-c", TWO, str(fated), fate], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said.format(fated) in done.stdout + done.stderr
    if fated == 1:                              # then the other one is the one we started
        assert done.returncode == (0 if fate == "done" else 2)
