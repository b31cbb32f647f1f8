"""Every way out of a program ends its reader threads first, and a machine without free files blames no file."""

import os
import resource
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from datareader.clips.video import read_frames
from datareader.loader import Loader
from datareader.resources import out_of_files
from datareader.stopping import check_stopped
from support.clips import write_clip
from support.goldens import ROOT
from utils.errors import DataError, VideoError

PROGRAM = """
import sys
from datareader import lists, loader_for
from datareader.clips.dataset import ClipDataset
from utils import cli
from utils.config.clips import ClipConfig
from utils.errors import DataError
import utils.runtime, paddle

def main(argv=None):
    config = ClipConfig(INFER={"num_reader_threads": 16}, MODEL={"seg_num": 25})
    items = [lists.Item(sys.argv[1], None, "clip.mp4")] * 200
    for _ in loader_for(ClipDataset(config, "infer", items), config.INFER).epoch():
        raise {error}

cli.run(main)
"""


@pytest.mark.parametrize(
    ("error", "status"), [("DataError('a bad list')", 2), ("KeyboardInterrupt", 130), ("RuntimeError('a bug')", 1)]
)
def test_no_way_out_aborts_while_readers_decode(tmp_path, error, status):
    """Regression: threads that decoded while the interpreter ended made the process abort (SIGABRT)."""
    clip = write_clip(tmp_path / "clip.mp4", frames=120, size=(640, 480), options={"preset": "ultrafast"})
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("{error}", error))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, program, clip], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr


class Slow:
    """Samples that take for ever, unless they are told to stop."""

    def __init__(self):
        self.started = threading.Event()

    def __len__(self):
        return 100

    def buffer(self, count):
        return np.empty(count, object)

    def read(self, index, epoch):
        self.started.set()
        while True:
            check_stopped()


def test_closing_a_loader_stops_a_sample_in_the_middle():
    data = Slow()
    before = set(threading.enumerate())
    with Loader(data, 1, 3) as loader:
        batches = loader.epoch()
        consumer = threading.Thread(target=lambda: next(batches, None), daemon=True)
        consumer.start()
        assert data.started.wait(10)
        readers = set(threading.enumerate()) - before - {consumer}
        assert len(readers) == 3
    assert not any(thread.is_alive() for thread in readers)


@pytest.fixture
def no_files():
    """Hardly any file may be opened inside the test; `no_files()` takes the last ones."""
    limits, taken = resource.getrlimit(resource.RLIMIT_NOFILE), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))

    def take():
        while True:
            try:
                taken.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                return taken

    yield take
    for handle in taken:
        os.close(handle)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_too_many_open_files_blame_no_clip(tmp_path, no_files):
    """Regression: good clips were reported as unreadable ("take it off the list")."""
    clip = write_clip(tmp_path / "a.mp4")
    no_files()
    with pytest.raises(VideoError, match="cannot be read .Too many open files.: check the disk") as caught:
        read_frames(clip, range)
    assert out_of_files(caught.value)


class Opened(Slow):
    """Each sample opens a file."""

    def __len__(self):
        return 2

    def read(self, index, epoch):
        try:
            with open(__file__, "rb") as file:
                return file.read(1), index, str(index)
        except OSError as error:
            raise DataError("cannot be read") from error

    def feed(self, buffer, labels):
        return {}

    def name(self, index):
        return str(index)


def test_reading_goes_on_when_others_have_closed_their_files(no_files):
    handles = no_files()
    for handle in handles[-10:]:
        threading.Timer(0.5, os.close, [handle]).start()
    del handles[-10:]
    loader = Loader(Opened(), 2)
    assert [batch.ids for batch in loader.epoch()] == [["0", "1"]] and not loader.bad


@pytest.mark.skipif(not shutil.which("strace"), reason="strace makes the disk fail")
@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_a_disk_that_fails_blames_no_clip(tmp_path, name):
    """Regression: a clip behind an input/output error was called unreadable, or read in part."""
    clip = write_clip(tmp_path / name, frames=60, size=(640, 480))
    program = "import sys; from datareader.clips.video import read_frames; read_frames(sys.argv[1], range)"
    fault = [
        "strace",
        "-f",
        "-qq",
        "-o",
        os.devnull,
        "-P",
        clip,
        "-e",
        "trace=read",
        "-e",
        "inject=read:error=EIO:when=5+",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*fault, sys.executable, "-c", program, clip], env=environment, capture_output=True, text=True
    )
    if "ptrace" in done.stderr:
        pytest.skip("this process may not be traced")
    assert "cannot be read (Input/output error): check the disk" in done.stderr, done.stderr
