"""An S3 server of our own on this machine, and the environment that leads to it.

All of them in a process share their content.
"""

import urllib.request
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from storage import cache
from storage.remote import objects

BUCKET = "bucket"


class Server:
    """`url(path)`: an address in its bucket; `upload(folder, path)`: all files of a folder."""

    def __init__(self):
        self.running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.running.start()
        host, port = self.running.get_host_and_port()
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "hush-hush",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def url(self, path):
        return f"s3://{BUCKET}/{path}"

    def upload(self, folder, path):
        for file in filter(Path.is_file, folder.iterdir()):
            self.put(file.read_bytes(), f"{path}/{file.name}")

    def put(self, data, path):
        objects.filesystem("s3").pipe_file(f"{BUCKET}/{path}", data)

    def read(self, path):
        return objects.filesystem("s3").cat_file(f"{BUCKET}/{path}")

    def names(self, path):
        return sorted(found.rpartition("/")[2] for found in objects.filesystem("s3").find(f"{BUCKET}/{path}"))

    def stop(self):
        if self.running:
            self.running.stop()
            self.running = None


@pytest.fixture
def s3(monkeypatch, tmp_path):
    """A Server with an empty bucket; this process and those it starts find it, and use a cache of their own."""
    server = Server()
    for name in (
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**server.environment, "ZOO_CACHE": str(tmp_path / "cache"), "ZOO_REMOTE_DELAY": "0"}.items():
        monkeypatch.setenv(name, value)
    cache.forget()
    objects.filesystem.cache_clear()
    objects.filesystem("s3").mkdir(BUCKET)
    yield server
    server.stop()
    cache.forget()
    objects.filesystem.cache_clear()
