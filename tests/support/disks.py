"""A small disk that a test may fill."""

import shutil
import subprocess

import pytest


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root mounts a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder):
    """Leave no room on the disk of a folder."""
    (folder / "filler").write_bytes(bytes(shutil.disk_usage(folder).free))
