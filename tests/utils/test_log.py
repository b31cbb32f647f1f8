"""What is printed: nothing that comes from elsewhere is obeyed, and a stream that fails ends no work."""

import os
import subprocess
import sys

import pytest

from support.goldens import ROOT
from utils import cli
from utils.errors import DataError
from utils.log import for_screen, log

PROGRAM = """
import sys
from utils import cli
from utils.log import log

def main(argv):
    for i in range(2000):
        print("a line of results", i)
        log.info("a line of the log %d", i)
    open(sys.argv[1], "w").write("done")

cli.run(main, [])
"""


def start(words, command):
    """The outcome of `sh -c command`, where $PYTHON is this Python running PROGRAM with `words`."""
    environment = {**os.environ, "PYTHON": sys.executable, "PROGRAM": PROGRAM, "OUT": str(words)}
    shell = ["sh", "-c", command.replace("PROGRAM", '"$PYTHON" -c "$PROGRAM" "$OUT"')]
    return subprocess.run(shell, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_standard_output_on_a_full_disk_ends_no_work(tmp_path):
    done = start(tmp_path / "result", "PROGRAM > /dev/full")
    assert done.returncode == 0 and (tmp_path / "result").read_text() == "done"
    assert done.stderr == "warning: <stdout> cannot be written (No space left on device); work goes on\n"


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_no_work(tmp_path, closed):
    done = start(tmp_path / "result", f"PROGRAM {closed}")
    assert done.returncode == 0 and (tmp_path / "result").read_text() == "done"


def test_a_full_disk_for_errors_too(tmp_path):
    done = start(tmp_path / "result", "PROGRAM > /dev/full 2> /dev/full")
    assert done.returncode == 0 and (tmp_path / "result").read_text() == "done"


def test_control_characters_are_shown_and_not_sent(capsys):
    title = "\x1b]0;owned\x07\x1b[2Jclip\u202e4pm.exe\udcff"
    assert for_screen(title) == r"\x1b]0;owned\x07\x1b[2Jclip\u202e4pm.exe\udcff"

    def main(argv):
        log.info("reading '%s'", title)
        raise DataError(f"'{title}' cannot be read")

    with pytest.raises(SystemExit):
        cli.run(main, [])
    output = "".join(capsys.readouterr())
    assert "\x1b" not in output and "\x07" not in output and "\u202e" not in output
    assert output.count(r"\x1b[2Jclip\u202e4pm.exe\udcff") == 2


def test_a_wrong_flag_with_control_characters(capsys):
    parser = cli.Parser(prog="x.py")
    with pytest.raises(SystemExit):
        parser.parse_args(["--\x1b[2J"])
    assert r"\x1b[2J" in capsys.readouterr().err
