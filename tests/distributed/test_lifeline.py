"""Processes end together, each with the reason: two processes that only hold a lifeline."""

import socket
import subprocess
import sys

import pytest

from engine.distributed.lifeline import Lifeline
from support.goldens import ROOT
from utils.errors import ConfigError

TWO = """
import os, socket, sys, time
from engine.distributed.lifeline import Lifeline, _connect
fated, fate, port = int(sys.argv[1]), sys.argv[2], sys.argv[3]
rank = 0 if os.fork() else 1
if rank:                                        # someone else finds the open port
    _connect(("127.0.0.1", int(port)), time.monotonic() + 10).sendall(b"x" * 80)
line = Lifeline(rank, 2, [f"127.0.0.1:{port}", "127.0.0.1:1"], 20)
if rank == fated:
    time.sleep(0.2)
    if fate != "dies":
        line.leave(fate.encode())
    os._exit(0)
time.sleep(1.5 if fate == "done" else 20)
print(f"process {rank} went on")
os._exit(0)
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize(
    "rank, said",
    [
        (0, "only 1 of 2 processes have connected; start the launcher on every host"),
        (1, "process 0 does not answer at '127.0.0.1:"),
    ],
)
def test_who_waits_in_vain_says_so(rank, said):
    with pytest.raises(ConfigError, match=said):
        Lifeline(rank, 2, [f"127.0.0.1:{free_port()}", "127.0.0.1:1"], 0.5)


@pytest.mark.parametrize("fated", [0, 1])
@pytest.mark.parametrize(
    "fate, said",
    [
        ("dies", "error: process {} of 2 died"),
        ("DataError: 'é' is bad", "error: DataError: 'é' is bad"),
        ("done", "went on"),
    ],
)
def test_the_other_one_learns_why(fated, fate, said):
    words = [sys.executable, "-c", TWO, str(fated), fate, str(free_port())]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert said.format(fated) in done.stdout + done.stderr
    if fated == 1:  # then the other one is the one we started
        assert done.returncode == (0 if fate == "done" else 2)
