"""The cache of remote objects: bounded, shared by threads, never emptied under a reader; and what addresses are."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datareader import lists
from datareader.clips.video import read_frames
from storage import addresses, cache
from storage.remote import objects
from support import tiny
from support.s3 import s3  # noqa: F401  (fixture)
from support.web import Server
from utils.errors import ConfigError, DataError, ObjectError, RemoteError, VideoError, redact_urls


def cached():
    return [path for path in cache.folder().iterdir() if not path.name.startswith(".") and path.is_file()]


@pytest.fixture
def web(monkeypatch, tmp_path):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_REMOTE_DELAY", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize(
    "folder, name, joined",
    [
        ("s3://b/lists", "a b/c.mp4", "s3://b/lists/a b/c.mp4"),
        ("s3://b/lists/", "../c.mp4", "s3://b/c.mp4"),
        ("s3://b", "./c.mp4", "s3://b/c.mp4"),
        ("s3://b/x", "/c.mp4", "s3://b/c.mp4"),
        ("/data", "s3://b/c.mp4", "s3://b/c.mp4"),
        ("s3://b", "https://h/c.mp4", "https://h/c.mp4"),
        ("/data", "c.mp4", Path("/data/c.mp4")),
        ("C:/data", "c", Path("C:/data/c")),
    ],
)
def test_join(folder, name, joined):
    assert addresses.join(folder, name) == joined


def test_parents_and_endings():
    assert addresses.parent("s3://b/x/train.list") == "s3://b/x" and addresses.parent("a/b") == Path("a")
    assert addresses.suffix("https://h/clip.MP4?signature=a.b/c") == ".mp4" and addresses.suffix("a.PKL") == ".pkl"
    assert [addresses.is_remote(path) for path in ("s3://b/x", "C:/x", "c://x", "file:///x", "a/b", Path("x"))] == [
        True
    ] + [False] * 5


def test_secrets_in_addresses_are_not_shown():
    assert redact_urls("'https://me:word@h/x.mp4?sig=abc' and s3://b/x") == "'https://...@h/x.mp4?...' and s3://b/x"


def test_many_threads_fetch_an_object_once(web):
    web.files["clip.mp4"] = bytes(300_000)
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda _: size_of(web.url("clip.mp4")), range(24)))
    assert sizes == [300_000] * 24 and len(web.asked) == 1 and len(cached()) == 1


def size_of(address):
    with addresses.reading(address) as file:
        return file.stat().st_size


def test_a_connection_that_breaks_goes_on(web):
    web.files["clip.mp4"], web.drop = bytes(range(250)) * 400, [30_000]
    with addresses.reading(web.url("clip.mp4")) as file:
        assert file.read_bytes() == web.files["clip.mp4"] and web.asked == [None, "bytes=30000-"]


def test_the_length_that_head_gave_counts_where_get_gives_none(web, monkeypatch):
    monkeypatch.setenv("ZOO_REMOTE_TRIES", "1")
    web.files["clip.mp4"], web.head, web.length, web.drop = bytes(50_000), True, False, [30_000]
    with pytest.raises(RemoteError, match="the connection ended after 30000 of 50000 bytes"):
        addresses.local(web.url("clip.mp4"))
    assert size_of(web.url("clip.mp4")) == 50_000


def test_the_cache_keeps_to_its_limit_and_to_what_is_in_use(s3, monkeypatch):  # noqa: F811
    monkeypatch.setenv("ZOO_CACHE_GB", "0.000025")
    for name in "abcde":
        s3.put(name.encode() * 10_000, name)
    with addresses.reading(s3.url("a")) as first:
        for name in "bcd":
            size_of(s3.url(name))
            time.sleep(0.02)  # uses are told apart by the file's time
        assert first.exists() and len(cached()) == 2  # a in use, and d
    size_of(s3.url("e"))
    assert sorted(path.read_bytes()[:1] for path in cached()) == [b"d", b"e"]
    assert size_of(s3.url("a")) == 10_000  # what went is fetched again


def test_a_file_that_somebody_else_reads_stays(s3, monkeypatch):  # noqa: F811
    """Locks belong to the opened file, so that a second opening stands for another process."""
    monkeypatch.setenv("ZOO_CACHE_GB", "0")
    s3.put(b"x", "a")
    with addresses.reading(s3.url("a")) as file:
        other = cache.pinned(file)
    cache.make_room(cache.folder())
    assert file.exists()
    os.close(other)
    cache.make_room(cache.folder())
    assert not file.exists()


def test_many_readers_of_a_cache_that_is_too_small(web, monkeypatch):
    """Other threads remove at once what a thread fetches: no thread misses a file or waits for ever."""
    monkeypatch.setenv("ZOO_CACHE_GB", "0.00001")
    web.files = {str(i): bytes([i]) * 5000 for i in range(6)}

    def read(number):
        name = str(number * 7919 % 6)
        with addresses.reading(web.url(name)) as file:
            return file.read_bytes() == web.files[name]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(400)))
    cache.make_room(cache.folder())  # the last ones were still in use
    assert sum(path.stat().st_size for path in cached()) <= 10_000


@pytest.mark.parametrize("part", ["head", "headers", "body"])
def test_a_bucket_that_drips_is_given_up(s3, web, monkeypatch, part):  # noqa: F811
    web.files["bucket/w"], web.drip[part], web.head = bytes(100_000), 0.02, True
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.url("").rstrip("/"))
    for name, value in (("TRIES", "1"), ("STALL", "0.5"), ("MIN_KBS", "1000")):
        monkeypatch.setenv(f"ZOO_REMOTE_{name}", value)
    objects.filesystem.cache_clear()
    with (
        pytest.raises(RemoteError, match=r"no answer within 1 s \(ZOO_REMOTE_MIN_KBS\)"),
        addresses.reading("s3://bucket/w"),
    ):
        pass


def test_a_web_server_that_drips_before_the_download_is_given_up(web, monkeypatch):
    """The question for an object's size was asked in the main thread, without end."""
    web.files["w"], web.drip["head"], web.head = bytes(100_000), 0.02, True
    monkeypatch.setenv("ZOO_REMOTE_TRIES", "1")
    monkeypatch.setenv("ZOO_REMOTE_STALL", "0.5")
    with pytest.raises(RemoteError, match=r"slower than 1 kB/s for 0.5 s"), addresses.reading(web.url("w")):
        pass


def test_an_object_that_changed_is_fetched_by_the_next_run(s3):  # noqa: F811
    s3.put(b"old", "list")
    assert size_of(s3.url("list")) == 3
    s3.put(b"newer", "list")
    assert size_of(s3.url("list")) == 3  # one run sees one content
    cache.forget()
    assert size_of(s3.url("list")) == 5


def test_what_is_not_there_and_what_may_not_be_read(s3, web):  # noqa: F811
    for address in (s3.url("absent"), "s3://absent-bucket/x"):
        with pytest.raises(ObjectError, match="cannot be fetched .no such object.; check the address"):
            addresses.local(address)
        assert not addresses.exists(address)
    with pytest.raises(ObjectError, match="absent' cannot be fetched .HTTP 404, Not Found."):
        addresses.local(web.url("absent"))


def test_without_credentials_the_way_out_is_named(s3, monkeypatch, tmp_path):  # noqa: F811
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    objects.filesystem.cache_clear()
    with pytest.raises(RemoteError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws"):
        addresses.local(s3.url("x"))


def test_settings_and_packages_are_checked(s3, monkeypatch):  # noqa: F811
    monkeypatch.setenv("ZOO_REMOTE_TRIES", "many")
    with pytest.raises(ConfigError, match="ZOO_REMOTE_TRIES 'many': expected a number of at least 1"):
        addresses.local(s3.url("x"))
    objects.filesystem.cache_clear()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(
        ConfigError, match=r"s3:// need the package fsspec, which is not installed: pip install -e \"\.\[remote\]\""
    ):
        objects.filesystem("s3")


def test_a_list_on_a_web_server_and_what_it_names(web, tmp_path):
    """Entries are relative to the list; an address may be signed.

    A clip that is not there is named by its own address.
    """
    tiny.make_clips(tmp_path / "clips", count=1, name="a.mp4")
    web.files["lists/a.mp4"] = web.files["b?sign=secret"] = (tmp_path / "clips" / "a.mp4").read_bytes()
    web.files["lists/infer.list"] = f"a.mp4\n\n{web.url('b?sign=secret')}\nabsent.mp4\n".encode()
    items = lists.read_clip_list(web.url("lists/infer.list"), "INFER.filelist", 2, labelled=False)
    assert [str(item.path) for item in items] == [
        web.url("lists/a.mp4"),
        web.url("b?sign=secret"),
        web.url("lists/absent.mp4"),
    ]
    for item in items[:2]:
        assert read_frames(item.path, lambda count: [0, count - 1]).shape == (2, 48, 64, 3)
    with pytest.raises(VideoError, match="lists/absent.mp4': cannot be fetched .HTTP 404"):
        read_frames(items[2].path, lambda count: [0])
    with pytest.raises(DataError, match="lists/' is a folder, and those are listed at s3:// and gs:// only"):
        addresses.files(web.url("lists/"))
