"""Weights by path or address, and the released ones by model name, in the cache that the old zoo used."""

import hashlib
import logging
import os
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

from models import MODELS, find
from storage import addresses, cache, transfer
from utils.errors import ConfigError, ObjectError, RemoteError, WeightsError

__all__ = ["RELEASED", "RESNET50", "Release", "fetch", "listing", "released", "require_same_classes", "resnet50"]

log = logging.getLogger("zoo")

FOLDER = "~/.paddle/weights"  # of every release of the old zoo
HOST = "https://paddlemodels.bj.bcebos.com/video_classification/"


class Release(NamedTuple):
    """Published weights: newest file, names under which any release of the old zoo cached them, class count, score."""

    file: str
    cached: tuple[str, ...]
    classes: int
    score: str

    @property
    def url(self) -> str:
        return HOST + self.file


def _release(name, directory, classes, score):
    return Release(f"{name}.pdparams", (f"{name}.pdparams", f"{name}_final.pdparams", directory), classes, score)


RELEASED = {
    "TSN": _release("TSN", "tsn_kinetics", 400, "Kinetics-400 top-1 0.66 with 3 segments, 0.67 with 7"),
    "STNET": _release("STNET", "stnet_kinetics", 400, "Kinetics-400 top-1 0.69 with 25 segments of 5 frames at 256"),
    "AttentionCluster": _release(
        "AttentionCluster", "attention_cluster_youtube8m", 3862, "YouTube-8M Hit@1 0.87, PERR 0.78, GAP 0.84"
    ),
    "AttentionLSTM": _release(
        "AttentionLSTM", "attention_lstm_youtube8m", 3862, "YouTube-8M Hit@1 0.8885, PERR 0.8012, GAP 0.8594"
    ),
    "NEXTVLAD": _release("NEXTVLAD", "nextvlad_youtube8m", 3862, "YouTube-8M Hit@1 0.8960, PERR 0.8132, GAP 0.8709"),
}
RESNET50 = Release(
    "ResNet50_pretrained.tar.gz",
    ("ResNet50_pretrained", "ResNet50_pretrained.tar.gz"),
    1000,
    "ImageNet backbone, for --pretrain",
)


def fetch(spec: str | Path) -> Path:
    """The local path of weights given as a path or an address; `#sha256=<hex>` after an `http(s)://` one is checked.

    What such an address holds is fetched once, and kept under its file name and a digest of the address. Raises
    WeightsError.
    """
    text = os.fspath(spec)
    parts = urllib.parse.urlsplit(text)
    if "://" not in text:
        return cache.under_home(text)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    try:
        if addresses.in_bucket(text):
            return addresses.local(text)
        transfer.scheme(text)
    except (ConfigError, ObjectError) as error:
        raise WeightsError(f"weights {error}") from error
    url, digest = text.partition("#")[0], parts.fragment.removeprefix("sha256=")
    name = Path(urllib.parse.unquote(parts.path)).name or "weights"
    return _download(url, _folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{name}", digest)


def released(name: str) -> Path:
    """Path of the released weights of model `name`, fetched unless a release of the old zoo has cached them.

    Raises WeightsError.
    """
    return _cached_or_fetched(RELEASED[name], f"weights of {name}")


def resnet50() -> Path:
    """Path of the released ImageNet ResNet-50, likewise."""
    return _cached_or_fetched(RESNET50, "pretrain weights of ResNet50")


def listing(name: str | None = None) -> str:
    """Lines that say what was released for a model, or for all, whether it is cached, and how it scored.

    Raises ConfigError for an unknown model.
    """
    names = [find(name).name] if name else list(MODELS)
    lines = []
    for title, release in [
        *((known, RELEASED.get(known)) for known in names),
        ("ResNet-50 (for --pretrain of models that see clips)", RESNET50),
    ]:
        if release is None:
            lines.append(f"{title}: no weights were released; train it, or give your own with --weights")
            continue
        path = _cached(release)
        lines += [
            f"{title}: {release.url}",
            f"    {release.classes} classes, {release.score}",
            f"    cached: {path}" if path else f"    not cached; would be kept at {_folder() / release.file}",
        ]
    return "\n".join(lines)


def require_same_classes(name: str, classes: int) -> None:
    """ConfigError unless released weights of model `name` exist and have as many classes as the configuration."""
    release = RELEASED.get(name)
    if release is None:
        raise ConfigError(
            f"--weights: {name} has no released weights; give your own, for example checkpoints/{name}_best"
        )
    if release.classes != classes:
        raise ConfigError(
            f"--weights is not given, and the released weights of {name} know {release.classes} classes while "
            f"MODEL.num_classes is '{classes}'; give your own, for example --weights=checkpoints/{name}_best"
        )


def _folder():
    return cache.under_home(FOLDER)


def _cached(release):
    return next((path for path in (_folder() / name for name in release.cached) if path.exists()), None)


def _cached_or_fetched(release, what):
    path = _cached(release)
    if path is not None:
        return path
    log.info("Download %s from %s", what, release.url)
    return _download(release.url, _folder() / release.file)


def _download(url, target, sha256=""):
    """Fetch `url` to `target`. Raises WeightsError, which says where the file may be put by hand."""
    try:
        cache.download(url, target, sha256=sha256)
    except ObjectError as error:
        raise WeightsError(
            f"{error}; check the address (over http it names a file, with its ending), or put the file at '{target}'"
        ) from error
    except RemoteError as error:
        raise WeightsError(
            f"{error}; fetch it on another machine and put it at '{target}', or give another path"
        ) from error
    except OSError as error:
        raise WeightsError(
            f"'{target}' cannot be written: {error}; make room, or fetch '{url}' elsewhere and give its path"
        ) from error
    return target
