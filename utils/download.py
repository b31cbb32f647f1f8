"""Weights by path or address, and the released ones by model name, in the cache that the old zoo used.

Written on urllib (which honours http_proxy and its like): what matters here is that a dropped connection goes on where it
stopped, over several tries and several runs, and that a name never stands for half a file. pooch, requests and
urllib3 leave both to the caller, and without them only a GET remains.
"""
import hashlib
import http.client
import logging
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock
from tqdm import tqdm

from utils.errors import ConfigError, WeightsError

log = logging.getLogger("zoo")

CACHE = Path("~/.paddle/weights")                   # of every release of the old zoo
HOST = "https://paddlemodels.bj.bcebos.com/video_classification/"
TRIES, BACKOFF, TIMEOUT = 5, 1.0, 30.0              # seconds: before the second try, doubled each time; without an answer
_CHUNK = 1 << 18
_TRANSIENT = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


class Release(NamedTuple):
    """Published weights: newest file, names under which any release of the old zoo cached them, class count, score."""

    file: str
    cached: tuple
    classes: int
    score: str

    @property
    def url(self):
        return HOST + self.file


def _release(name, directory, classes, score):
    return Release(f"{name}.pdparams", (f"{name}.pdparams", f"{name}_final.pdparams", directory), classes, score)


RELEASED = {
    "TSN": _release("TSN", "tsn_kinetics", 400, "Kinetics-400 top-1 0.66 with 3 segments, 0.67 with 7"),
    "STNET": _release("STNET", "stnet_kinetics", 400, "Kinetics-400 top-1 0.69 with 25 segments of 5 frames at 256"),
    "AttentionCluster": _release("AttentionCluster", "attention_cluster_youtube8m", 3862, "YouTube-8M Hit@1 0.87, PERR 0.78, GAP 0.84"),
    "AttentionLSTM": _release("AttentionLSTM", "attention_lstm_youtube8m", 3862, "YouTube-8M Hit@1 0.8885, PERR 0.8012, GAP 0.8594"),
    "NEXTVLAD": _release("NEXTVLAD", "nextvlad_youtube8m", 3862, "YouTube-8M Hit@1 0.8960, PERR 0.8132, GAP 0.8709"),
}
RESNET50 = Release("ResNet50_pretrained.tar.gz", ("ResNet50_pretrained", "ResNet50_pretrained.tar.gz"), 1000,
                   "ImageNet backbone, for --pretrain")


def fetch(spec):
    """The local path of weights given as a path, a `file://` or an `http(s)://` address; `#sha256=<hex>` behind an address is checked.

    What an address holds is kept in the cache under its file name and a digest of the address. Raises WeightsError.
    """
    text = os.fspath(spec)
    parts = urllib.parse.urlsplit(text)
    if "://" not in text:
        return Path(text).expanduser()
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    if parts.scheme not in ("http", "https"):
        raise WeightsError(f"weights '{text}': addresses start with https://, http:// or file://; give one of these, or a path")
    url, digest = text.partition("#")[0], parts.fragment.removeprefix("sha256=")
    name = Path(urllib.parse.unquote(parts.path)).name or "weights"
    target = CACHE.expanduser() / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}"
    return target if target.exists() else download(url, target, digest)


def released(name):
    """Path of the released weights of model `name`, fetched unless some release of the old zoo has cached them."""
    return _cached_or_fetched(RELEASED[name], f"weights of {name}")


def resnet50():
    """Path of the released ImageNet ResNet-50, likewise."""
    return _cached_or_fetched(RESNET50, "pretrain weights of ResNet50")


def listing(name=""):
    """Lines that say what was released for a model (by default for all), whether it is cached, and how it scored."""
    chosen = [known for known in RELEASED if not name or known.lower() == name.lower()]
    rows = [(known, RELEASED[known]) for known in chosen] or [(name, None)]
    lines = []
    for title, release in [*rows, ("ResNet-50", RESNET50)]:
        if release is None:
            lines.append(f"{title}: no weights were released; train it, or give your own with --weights")
            continue
        path = _cached(release)
        lines += [f"{title}: {release.url}", f"    {release.classes} classes, {release.score}",
                  f"    cached: {path}" if path else f"    not cached; would be kept at {CACHE.expanduser() / release.file}"]
    return "\n".join(lines)


def _cached(release):
    return next((path for path in (CACHE.expanduser() / name for name in release.cached) if path.exists()), None)


def _cached_or_fetched(release, what):
    path = _cached(release)
    if path is None:
        log.info("Download %s from %s", what, release.url)
        path = download(release.url, CACHE.expanduser() / release.file)
    return path


def download(url, target, sha256=""):
    """Fetch `url` to the path `target`, which appears when it is whole; returns it. Raises WeightsError.

    Beside it lies `<target>.part`, which a later call goes on with, and a lock, for processes that start together.
    """
    target = Path(target)
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not target.exists():
                _transfer_with_patience(url, part, target)
                _check_digest(url, part, sha256)
                os.replace(part, target)
    except OSError as error:
        raise WeightsError(f"'{target}' cannot be written: {error}; make room, or fetch '{url}' elsewhere and give its path") from error
    return target


def _transfer_with_patience(url, part, target):
    for number in range(TRIES):
        try:
            return _transfer(url, part)
        except _TRANSIENT as error:
            final = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 416, 429)
            if final or number == TRIES - 1:
                reason = getattr(error, "reason", None) or error
                code = f"HTTP {error.code}, " if isinstance(error, urllib.error.HTTPError) else ""
                raise WeightsError(f"'{url}' cannot be fetched ({code}{reason}); fetch it on another machine and put it "
                                   f"at '{target}', or give another path") from error
            if getattr(error, "code", None) == 416:         # the part is not the beginning of what is there now
                part.unlink(missing_ok=True)
            log.warning("'%s': %s; trying again, %d of %d", url, error, number + 2, TRIES)
            time.sleep(BACKOFF * 2 ** number)


def _transfer(url, part):
    """Append to `part` what it lacks of `url`; raises ConnectionError when the connection ends before the file does."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.build_opener().open(request, timeout=TIMEOUT) as response:      # built anew: the proxies of this moment
        if response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            mode = "ab"
        else:                                               # the server sends the whole file again
            mode, done = "wb", 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        with open(part, mode) as file, tqdm(total=total, initial=done, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                bar.update(len(chunk))
    if total is not None and done != total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _check_digest(url, part, sha256):
    if not sha256:
        return
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        part.unlink()
        raise WeightsError(f"'{url}': the SHA-256 of what came is {found}, expected {sha256}; the file was dropped, check the address")


def require_same_classes(name, classes):
    """ConfigError unless released weights of model `name` exist and know as many classes as the configuration."""
    release = RELEASED.get(name)
    if release is None:
        raise ConfigError(f"--weights: {name} has no released weights; give your own, for example checkpoints/{name}_best")
    if release.classes != classes:
        raise ConfigError(f"--weights is not given, and the released weights of {name} know {release.classes} classes while "
                          f"MODEL.num_classes is '{classes}'; give your own, for example --weights=checkpoints/{name}_best")
