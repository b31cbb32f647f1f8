"""Downloads against a server of our own: dropped connections go on, nothing half-written takes the final name, errors say what to do."""

import hashlib
import io
import tarfile
import threading

import numpy as np
import pytest

from engine.weights import formats
from engine.weights import load as weights
from models import find
from storage import cache, transfer
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
    assert cache.fetch("~/saved.pdparams") == cache.fetch(str(saved)) == cache.fetch(saved.as_uri()) == saved
    path = cache.fetch(server.url("x/TSN.pdparams"))
    assert path.parent == folder and (formats.read(path).arrays["fc_0.w_0"] == ARRAYS["fc_0.w_0"]).all()
    assert cache.fetch(server.url("x/TSN.pdparams")) == path and len(server.asked) == 1
    server.files["y/TSN.pdparams"] = b"another"
    assert cache.fetch(server.url("y/TSN.pdparams")) != path  # same file name, another address
    with pytest.raises(WeightsError, match="'ftp://host/x': addresses start with https://"):
        cache.fetch("ftp://host/x")


def test_a_dropped_connection_goes_on_where_it_stopped(folder, server, tmp_path):
    server.files["w"], server.drop = pdparams(tmp_path), [50_000, 70_000]
    path = cache.download(server.url("w"), folder / "w.pdparams")
    assert server.asked == [None, "bytes=50000-", "bytes=120000-"] and path.read_bytes() == server.files["w"]
    assert visible(folder) == ["w.pdparams"]


def test_a_later_call_goes_on_with_the_part(folder, server, tmp_path):
    server.files["w"], server.drop = pdparams(tmp_path), [10_000] + [0] * (transfer.TRIES - 1)
    size = len(server.files["w"])
    with pytest.raises(
        WeightsError, match=rf"ended after 10000 of {size} bytes\) after 5 tries; .*; fetch it on another machine"
    ):
        cache.download(server.url("w"), folder / "w.pdparams")
    assert visible(folder) == ["w.pdparams.part"]
    assert cache.download(server.url("w"), folder / "w.pdparams").read_bytes() == server.files["w"]
    assert server.asked[-1] == "bytes=10000-"


def test_servers_that_cannot_resume_and_parts_that_are_too_long(folder, server, tmp_path):
    server.files["w"], server.ranges, server.drop = pdparams(tmp_path), False, [10_000]
    assert cache.download(server.url("w"), folder / "w").read_bytes() == server.files["w"]
    server.ranges = True
    (folder / "v.part").write_bytes(bytes(len(server.files["w"]) + 1))
    assert cache.download(server.url("w"), folder / "v").read_bytes() == server.files["w"]


def test_missing_files_are_not_asked_for_twice(folder, server):
    with pytest.raises(WeightsError, match=r"/gone.pdparams' cannot be fetched \(HTTP 404, Not Found\)"):
        cache.fetch(server.url("gone.pdparams"))
    assert len(server.asked) == 1 and visible(folder) == []


def test_checksums(folder, server, tmp_path):
    server.files["w"] = pdparams(tmp_path)
    good, bad = hashlib.sha256(server.files["w"]).hexdigest(), "0" * 64
    with pytest.raises(WeightsError, match=f"SHA-256 of what came is {good}, expected {bad}"):
        cache.fetch(f"{server.url('w')}#sha256={bad}")
    assert visible(folder) == []
    assert cache.fetch(f"{server.url('w')}#sha256={good}").read_bytes() == server.files["w"]


def test_offline_says_the_address_and_the_place(folder, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there; also: proxies are honoured
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(
        WeightsError, match="video_classification/TSN.pdparams' cannot be fetched .*refused.*put it at '.*TSN.pdparams'"
    ):
        cache.released("TSN")


@pytest.mark.parametrize("name", ["TSN.pdparams", "TSN_final.pdparams", "tsn_kinetics"])
def test_what_any_release_of_the_old_zoo_cached_is_used(folder, name):
    (folder / name).mkdir(parents=True)
    assert cache.released("TSN") == folder / name
    assert f"cached: {folder / name}" in cache.listing(["TSN"]) and "STNET" not in cache.listing(["TSN"])


def test_the_released_backbone_is_an_archive(folder, server, monkeypatch):
    """As published: a tar.gz with a folder of variables."""
    model_class = find("TSN")
    model = model_class(model_class.settings(), "train")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("../../outside")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    monkeypatch.setattr(cache, "HOST", server.url(""))
    server.files["ResNet50_pretrained.tar.gz"] = packed.getvalue()
    path = cache.resnet50()
    assert path == folder / "ResNet50_pretrained.tar.gz" == cache.resnet50() and len(server.asked) == 1
    with pytest.raises(WeightsError, match="would land outside the folder"):
        weights.read(str(path), model, {})
    assert visible(folder) == ["ResNet50_pretrained.tar.gz"] and not (folder.parent / "outside").exists()


def test_released_weights_never_serve_another_class_count():
    with pytest.raises(ConfigError, match="released weights of TSN know 400 classes while MODEL.num_classes is '6'"):
        cache.require_same_classes("TSN", 6)
    with pytest.raises(ConfigError, match="TPN has no released weights"):
        cache.require_same_classes("TPN", 400)
