"""Ctrl-C ends a program with one sentence at any moment."""

import os
import signal
import subprocess
import sys

import pytest

from support.goldens import ROOT
from utils import cli


def test_an_interrupt_that_compiled_code_reports_as_its_own_error(capsys):
    """Paddle's modules raise ImportError and SystemError where a signal's handler raised KeyboardInterrupt."""

    def main(argv):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as stop:
        cli.run(main, [])
    assert stop.value.code == 130 and capsys.readouterr().err.startswith("interrupted; ")
    assert signal.getsignal(signal.SIGINT) is before


PROGRAM = """
import os, signal, sys
from utils import cli

def main(argv):
    import engine.graph.compat  # Paddle, whose import takes SIGTERM over
    os.kill(os.getpid(), int(argv[0]))
    signal.pause()

cli.run(main, sys.argv[1:])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_is_one_sentence_and_not_a_dump_of_paddle(number):
    words = [sys.executable, "-c", PROGRAM, str(int(number))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 128 + number
    assert done.stderr.splitlines()[-1] == f"stopped by {number.name}; only files logged above were written"
    assert "FatalError" not in done.stdout + done.stderr


def test_an_error_without_an_interrupt_stays_one():
    def main(argv):
        raise ImportError("no such module")

    with pytest.raises(ImportError, match="no such module"):
        cli.run(main, [])
