"""Downloads from a server of our own: dropped ones are resumed, what is bad is not kept, errors say what to do."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from engine.weights import formats, released
from engine.weights import load as weights
from models import find
from storage import transfer
from support.goldens import ROOT
from support.web import Server
from utils.errors import ConfigError, WeightsError

ARRAYS = {"fc_0.w_0": np.arange(40_000, dtype=np.float32).reshape(100, 400)}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("ZOO_REMOTE_DELAY", "0")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZOO_REMOTE_DELAY", "0")
    return tmp_path / ".paddle" / "weights"


def pdparams(tmp_path):
    formats.save(tmp_path / "saved.pdparams", ARRAYS)
    return (tmp_path / "saved.pdparams").read_bytes()


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_paths_and_addresses(folder, server, tmp_path):
    server.files["x/TSN.pdparams"] = pdparams(tmp_path)
    saved = tmp_path / "saved.pdparams"
    assert released.fetch("~/saved.pdparams") == released.fetch(str(saved)) == released.fetch(saved.as_uri()) == saved
    path = released.fetch(server.url("x/TSN.pdparams"))
    assert path.parent == folder and (formats.read(path).arrays["fc_0.w_0"] == ARRAYS["fc_0.w_0"]).all()
    assert released.fetch(server.url("x/TSN.pdparams")) == path and len(server.asked) == 1
    server.files["y/TSN.pdparams"] = b"another"
    assert released.fetch(server.url("y/TSN.pdparams")) != path  # same file name, another address
    with pytest.raises(WeightsError, match="'ftp://host/x': addresses start with https://"):
        released.fetch("ftp://host/x")


def test_a_dropped_connection_goes_on_where_it_stopped(folder, server, tmp_path):
    server.files["w"], server.drop = pdparams(tmp_path), [50_000, 70_000]
    path = released.fetch(server.url("w"))
    assert server.asked == [None, "bytes=50000-", "bytes=120000-"] and path.read_bytes() == server.files["w"]
    assert visible(folder) == [path.name]


def test_a_later_call_goes_on_with_the_part(folder, server, tmp_path):
    server.files["w"], server.drop = pdparams(tmp_path), [10_000] + [0] * (transfer.TRIES - 1)
    size = len(server.files["w"])
    with pytest.raises(
        WeightsError, match=rf"ended after 10000 of {size} bytes\) after 5 tries; .*; fetch it on another machine"
    ):
        released.fetch(server.url("w"))
    assert [Path(name).suffix for name in visible(folder)] == [".part", ".tag"]
    path = released.fetch(server.url("w"))
    assert path.read_bytes() == server.files["w"] and server.asked[-1] == "bytes=10000-"
    assert visible(folder) == [path.name]


def test_a_file_that_changed_is_not_spliced(folder, server, tmp_path):
    """Half of the old file was fetched; with the second half of the new one it would be neither."""
    server.files["w"], server.drop = b"old" * 10_000, [10_000] + [0] * (transfer.TRIES - 1)
    with pytest.raises(WeightsError, match="ended after 10000 of 30000 bytes"):
        released.fetch(server.url("w"))
    server.files["w"] = b"new" * 10_000
    assert released.fetch(server.url("w")).read_bytes() == b"new" * 10_000


def test_without_a_version_a_download_starts_anew(folder, server, tmp_path):
    server.tags, server.files["w"], server.drop = False, b"old" * 10_000, [10_000]
    assert released.fetch(server.url("w")).read_bytes() == b"old" * 10_000 and server.asked == [None, None]


def test_servers_that_cannot_resume_and_parts_that_are_too_long(folder, server, tmp_path):
    server.files["w"], server.ranges, server.drop = pdparams(tmp_path), False, [10_000]
    path = released.fetch(server.url("w"))
    assert path.read_bytes() == server.files["w"]
    server.ranges = True
    path.unlink()
    (folder / f"{path.name}.part").write_bytes(bytes(len(server.files["w"]) + 1))
    (folder / f"{path.name}.part.tag").write_text(f'"{hashlib.sha256(server.files["w"]).hexdigest()[:8]}"')
    assert released.fetch(server.url("w")).read_bytes() == server.files["w"]
    assert server.asked[-2:] == [f"bytes={len(server.files['w']) + 1}-", None]


def test_missing_files_are_not_asked_for_twice(folder, server):
    with pytest.raises(WeightsError, match=r"/gone.pdparams' cannot be fetched \(HTTP 404, Not Found\)"):
        released.fetch(server.url("gone.pdparams"))
    assert len(server.asked) == 1 and visible(folder) == []


def test_checksums(folder, server, tmp_path):
    server.files["w"] = pdparams(tmp_path)
    good, bad = hashlib.sha256(server.files["w"]).hexdigest(), "0" * 64
    with pytest.raises(WeightsError, match=f"has the SHA-256 {good}, expected {bad}; the file was dropped"):
        released.fetch(f"{server.url('w')}#sha256={bad}")
    assert visible(folder) == []
    path = released.fetch(f"{server.url('w')}#sha256={good.upper()}")
    assert path.read_bytes() == server.files["w"]


def test_the_checksum_of_a_cached_file_is_checked(folder, server, tmp_path):
    server.files["w"] = pdparams(tmp_path)
    path, good = released.fetch(server.url("w")), hashlib.sha256(server.files["w"]).hexdigest()
    path.write_bytes(b"other")
    with pytest.raises(WeightsError, match=f"expected {good}; remove '.*{path.name}' to fetch it again"):
        released.fetch(f"{server.url('w')}#sha256={good}")


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_drips_is_given_up(folder, server, monkeypatch, part):
    """Each byte comes in time for the socket's own limit; the transfer would take weeks."""
    monkeypatch.setenv("ZOO_REMOTE_TRIES", "1")
    monkeypatch.setenv("ZOO_REMOTE_STALL", "0.5")
    server.files["w"], server.drip[part] = bytes(100_000), 0.02
    with pytest.raises(WeightsError, match=r"slower than 1 kB/s for 0.5 s \(ZOO_REMOTE_MIN_KBS\)"):
        released.fetch(server.url("w"))


def test_a_connection_may_not_last_too_long(folder, server, monkeypatch):
    monkeypatch.setenv("ZOO_REMOTE_TRIES", "1")
    monkeypatch.setenv("ZOO_REMOTE_HOURS", "0.0001")
    monkeypatch.setenv("ZOO_REMOTE_MIN_KBS", "0.01")
    monkeypatch.setenv("ZOO_REMOTE_STALL", "0.5")
    server.files["w"], server.drip["body"] = bytes(100_000), 0.02
    with pytest.raises(WeightsError, match=r"longer than 0.0001 hours \(ZOO_REMOTE_HOURS\)"):
        released.fetch(server.url("w"))


def test_what_is_no_file_is_not_kept(folder, server, monkeypatch):
    server.kind, server.files["w"] = "text/html; charset=utf-8", b"<html>Please log in</html>"
    with pytest.raises(WeightsError, match="/w' is a web page .text/html., not a file"):
        released.fetch(server.url("w"))
    assert visible(folder) == []


def test_the_size_of_a_download_is_limited(folder, server, monkeypatch):
    monkeypatch.setenv("ZOO_REMOTE_MAX_GB", "0.00001")
    server.files["w"], server.length = bytes(20_000), False
    with pytest.raises(WeightsError, match="/w' is larger than 1e-05 GB; .* ZOO_REMOTE_MAX_GB"):
        released.fetch(server.url("w"))


def test_redirects_that_go_round_or_elsewhere_are_one_line(folder, server):
    server.moved = {"a": server.url("b"), "b": server.url("a"), "c": "file:///etc/passwd", "d": "ftp://127.0.0.1/x"}
    for name in server.moved:
        with pytest.raises(WeightsError, match="cannot be fetched") as caught:
            released.fetch(server.url(name))
        assert "\n" not in str(caught.value)
    assert visible(folder) == []


def test_offline_says_the_address_and_the_place(folder, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there; also: proxies are honoured
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(
        WeightsError, match="video_classification/TSN.pdparams' cannot be fetched .*refused.*put it at '.*TSN.pdparams'"
    ):
        released.released("TSN")


@pytest.mark.parametrize("name", ["TSN.pdparams", "TSN_final.pdparams", "tsn_kinetics"])
def test_what_any_release_of_the_old_zoo_cached_is_used(folder, name):
    (folder / name).mkdir(parents=True)
    assert released.released("TSN") == folder / name
    assert f"cached: {folder / name}" in released.listing("TSN") and "STNET" not in released.listing("TSN")


def test_the_released_backbone_is_an_archive(folder, server):
    """As published: a tar.gz with a folder of variables."""
    model_class = find("TSN")
    model = model_class(model_class.config_class(), "train")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("../../outside")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    release = released.BACKBONES["ResNet-50"]._replace(host=server.url(""))
    server.files["ResNet50_pretrained.tar.gz"] = packed.getvalue()
    path = released.fetch_release(release, "backbone")
    assert path == folder / "ResNet50_pretrained.tar.gz" == released.backbone("ResNet-50") and len(server.asked) == 1
    with pytest.raises(WeightsError, match="would land outside the folder"):
        weights.read(str(path), model, {})
    assert visible(folder) == ["ResNet50_pretrained.tar.gz"] and not (folder.parent / "outside").exists()


HOMELESS = """
import os, sys
os.environ.pop("HOME", None)
from engine.weights import released
from utils import cli

os.setuid(54321)  # a user who is in no list

cli.run(lambda argv: released.fetch(argv[0]), [sys.argv[1]])
"""


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize("spec", ["http://127.0.0.1:9/w", "~/w"])
def test_a_user_without_a_home_folder(spec):
    done = subprocess.run([sys.executable, "-c", HOMELESS, spec], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "this user has no home folder; set the environment variable HOME" in done.stderr.splitlines()[-1]


def test_released_weights_never_serve_another_class_count():
    with pytest.raises(ConfigError, match="released weights of TSN know 400 classes while MODEL.num_classes is '6'"):
        released.require_same_classes("TSN", 6)
    with pytest.raises(ConfigError, match="TPN has no released weights"):
        released.require_same_classes("TPN", 400)
