"""One writer in a folder: who it is, and that none stays behind."""

import os
import re
import signal
import subprocess
import sys

import pytest

from storage.locks import locked, require_unlocked
from support.goldens import ROOT
from utils.errors import ConfigError

HOLD = """import sys
from storage.locks import locked
with locked(sys.argv[1], 'x'):
    print('held', flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock `x` of tmp_path."""
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_is_told_who_the_first_is(holder, tmp_path):
    says = (
        re.escape(f"'{tmp_path}' is being written to by -c (process {holder.pid} on ")
        + ".*; wait until it ends, or name"
    )
    for attempt in (locked(tmp_path, "x").__enter__, lambda: require_unlocked(tmp_path, "x")):
        with pytest.raises(ConfigError, match=says):
            attempt()
    with locked(tmp_path, "another"):
        pass
    holder.communicate("")
    with locked(tmp_path, "x"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_free(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".x.lock"]
    require_unlocked(tmp_path, "x")
    with locked(tmp_path, "x"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_frees_it_and_a_link_is_not_followed(tmp_path):
    with pytest.raises(ValueError), locked(tmp_path / "new", "x"):
        raise ValueError
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "precious").write_text("precious")
    os.symlink(tmp_path / "precious", tmp_path / ".x.lock")
    with pytest.raises(OSError), locked(tmp_path, "x"):
        raise AssertionError("not reached")
    assert (tmp_path / "precious").read_text() == "precious"
