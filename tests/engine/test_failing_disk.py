"""Saves on a disk that fails, is full or has no hard links: each checkpoint stays wholly the old or the new one."""

import re
import shutil

import pytest

from engine.export import write as exporter
from support import networks, saving
from support.disks import fill, small_disk  # noqa: F401  (fixture)
from utils.errors import CheckpointError, ConfigError

MESSAGE = re.compile(
    r"checkpoint '.*' (was not written: .*; an earlier checkpoint of that name is intact|"
    r"is written and whole, but files of it are still in .*)\n"
)
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace makes system calls fail")


@needs_strace
@pytest.mark.parametrize("kind", ["rename", "fsync"])
def test_an_error_of_any_call_leaves_whole_checkpoints(tmp_path, kind):
    """The second rename that failed left new parameters beside an old optimizer, and "intact" was said."""
    for number in range(1, 40):
        folder = tmp_path / str(number)
        saving.earlier(folder)
        done = saving.child(folder, kind, "error=EIO", number)
        if not saving.met(folder, done):
            break
        assert done.returncode == 2 and MESSAGE.fullmatch(done.stdout), done.stdout + done.stderr
        saving.settled(folder)
        saving.epoch(folder)
    assert number > 3 and set(saving.settled(folder).values()) == {3, 4}


@needs_strace
def test_without_hard_links_files_are_copied(tmp_path):
    saving.earlier(tmp_path)
    done = saving.child(tmp_path, "link", "error=EPERM", "1+")
    assert done.returncode == 0, done.stdout + done.stderr
    assert saving.settled(tmp_path) == {"epoch3": 3, "epoch4": 4, "latest": 4, "best": 4}
    assert (tmp_path / "TSN_best.pdparams").stat().st_nlink == 1


def test_a_disk_that_is_full_at_any_moment(small_disk):  # noqa: F811
    """Saves, links and rewrites: a link left a partial `.new`, and spoke of no full disk."""
    failed = 0
    for pages in range(30):
        saving.earlier(small_disk)
        room = shutil.disk_usage(small_disk).free - 4096 * pages
        (small_disk / "filler").write_bytes(bytes(room))
        try:
            saving.epoch(small_disk)
        except CheckpointError as error:
            failed += 1
            assert "was not written: the disk is full; an earlier" in str(error)
        assert not [path for path in small_disk.iterdir() if path.name.startswith(".")]
        found = saving.stands(small_disk)
        for path in small_disk.iterdir():
            path.unlink()
        if set(found.values()) == {3, 4} and found["latest"] == found["best"] == 4:
            break
    assert 0 < failed == pages


@networks.needs_onnx
def test_an_export_where_temporary_files_have_no_room(small_disk, tmp_path, monkeypatch):  # noqa: F811
    """The message was that the model cannot be converted to ONNX."""
    network = networks.trained("TINYNET")
    fill(small_disk)
    monkeypatch.setenv("TMPDIR", str(small_disk))
    exporter.export(network, tmp_path / "exported", form="onnx")
    assert (tmp_path / "exported" / "model.onnx").stat().st_size > 1000
    with pytest.raises(ConfigError, match="No space left on device"):
        exporter.export(network, small_disk / "exported")
    assert not (small_disk / "exported").exists()
