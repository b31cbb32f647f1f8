"""Run the programs as a user would: in this process for speed, or as a process of their own."""

import contextlib
import os
import runpy
import subprocess
import sys

from support.goldens import ROOT
from utils import cli


def status(capsys, program, *words):
    """(exit status, printed text) of `python <program> <words>`, run in this process."""
    main = runpy.run_path(str(ROOT / program))["main"]
    try:
        cli.run(main, [str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    output = capsys.readouterr()
    return code, output.out + output.err


@contextlib.contextmanager
def calls(function):
    """A list that gets an entry for each call of a function in this thread, within the block."""
    found = []

    def note(frame, event, _):
        if event == "call" and frame.f_code is function.__code__:
            found.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


RUN = ROOT / "tests" / "support" / "run.py"


def command(*words):
    """The words that start `python <words>`; a driver of TINYNET goes through `support/run.py`, which knows it."""
    words = [str(word) for word in words]
    if any("TINYNET" in word for word in words):
        driver = next(i for i, word in enumerate(words) if word in ("train.py", "test.py", "infer.py", "serve.py"))
        words.insert(driver, str(RUN))
    return [sys.executable, *words]


def start(*words, **settings):
    """A process running `python <words>` in the project's folder."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(*words),
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **settings,
    )
