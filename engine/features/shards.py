"""What extract.py writes: features of lists of clips as shards, with lists of them and a config that points there.

    lists -> cache of clips' features (fill) -> [whitening fitted on the first list] -> shards, in the lists' order

    <save_dir>/<list>.list, <list>/<list>0000.tfrecord, features.yaml, classes.txt, bad_samples.csv, cache/

Files take their names when they are whole; what is done again gives the same bytes.
"""

import logging
import pickle
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import yaml

from datareader import lists
from datareader.clips.pickles import read_pickle
from datareader.features import tfrecord
from datareader.features.examples import sequence_example
from datareader.names import read_names
from engine.features import settings
from engine.features.cache import Features
from engine.features.datasets import fill
from engine.features.whitening import Whitening
from storage.files import replacing
from storage.tables import write_csv
from utils.config.features import ExtractorSection
from utils.errors import ConfigError, DataError

__all__ = ["FORMATS", "extract"]

log = logging.getLogger("zoo")

FORMATS = ("tfrecord", "pkl")
MOST_CLASSES = 10**6
MODES = {"train": ("TRAIN",), "val": ("VALID", "TEST"), "test": ("TEST",)}  # by how the name of a list begins


def extract(
    section: ExtractorSection,
    filelists: Sequence[str],
    save_dir: str | Path,
    form: str = "tfrecord",
    quantise: int = 0,
    threads: int = 2,
    clips_a_shard: int = 256,
    class_names: str | None = None,
    data_root: str | None = None,
) -> tuple[int, dict[str, str]]:
    """Extract, and write everything. Returns (number of clips written, {clip: reason} of those that cannot be read).

    quantise: dimensions after whitening, at most; 0 for float16. Raises DataError, ConfigError, WeightsError.
    """
    folder = Path(save_dir).absolute()
    read = {_stem(path, filelists): _items(path, data_root) for path in filelists}
    features = Features(section.model_copy(update={"cache": str(folder / "cache")}))
    bad = {}
    for name, items in read.items():
        bad[name] = fill(features, items, threads, name)
        if len(bad[name]) == len(items):
            raise DataError(f"no clip of list '{name}' can be read: {'; '.join(list(bad[name].values())[:3])}")
    kept = {name: [item for item in items if item.name not in bad[name]] for name, items in read.items()}
    if quantise:
        first = next(iter(kept.values()))
        whitening = Whitening.fitted((features.read(features.kept(item.path)) for item in first), quantise)
        section = section.model_copy(update={"whitening": str(whitening.save(folder))})
        features.whitening = whitening
    for name, items in kept.items():
        _write_list(folder, name, items, features, form, clips_a_shard)
    rows = [(name, clip, reason, section.model) for name, found in bad.items() for clip, reason in found.items()]
    write_csv(folder / "bad_samples.csv", ["list", "sample", "reason", "model"], rows)
    _write_config(folder, section, features, kept, _names(class_names, filelists, folder))
    return sum(map(len, kept.values())), {row[1]: row[2] for row in rows}


def _stem(path, filelists):
    """What a list's shards are called: the name of the list, with its folder's where two have the same."""
    path = Path(path)
    twice = sum(Path(other).stem == path.stem for other in filelists) > 1
    return f"{path.parent.name}_{path.stem}" if twice else path.stem


def _items(path, data_root):
    items = lists.read_clip_list(path, "--filelist", MOST_CLASSES, labelled=False, data_root=data_root, fallback="mp4")
    return [item._replace(label=_label(item)) for item in items]


def _label(item):
    return read_pickle(item.path)[1] if item.label is None and lists.is_pickle(item.name, "mp4") else item.label


def _write_list(folder, name, items, features, form, size):
    """The shards of a list and the list of them."""
    named = []
    for number, start in enumerate(range(0, len(items), size)):
        named.append(f"{name}/{name}{number:04d}.{form}")
        with replacing(folder / named[-1]) as beside:
            _write_shard(beside, _videos(items[start : start + size], features), form)
    for stale in sorted((folder / name).glob(f"{name}[0-9]*.*")):
        if f"{name}/{stale.name}" not in named and stale.suffix[1:] in FORMATS:
            stale.unlink()  # of an earlier list that was longer, or in the other format
    with replacing(folder / f"{name}.list") as beside:
        beside.write_text("".join(f"{shard}\n" for shard in named), encoding="utf-8")


def _videos(items: Iterable[lists.Item], features: Features):
    for item in items:
        labels = None if item.label is None else [item.label]
        yield {"id": item.name, "labels": labels, "rgb": features.rows(item.path)}


def _write_shard(path, videos, form):
    if form == "tfrecord":
        tfrecord.write(path, (sequence_example(**video) for video in videos))
        return
    records = [
        {
            b"video": video["id"].encode("utf-8", "backslashreplace"),
            b"feature": np.ascontiguousarray(video["rgb"]),
            b"nframes": len(video["rgb"]),
            **({} if video["labels"] is None else {b"label": video["labels"]}),
        }
        for video in videos
    ]
    path.write_bytes(pickle.dumps(records, protocol=4))


def _names(class_names, filelists, folder):
    """The file of class names in `folder`, copied from the given one or from classes.txt beside the first list."""
    source = Path(class_names) if class_names else Path(filelists[0]).parent / "classes.txt"
    if not source.is_file():
        if class_names:
            raise ConfigError(f"--class_names '{class_names}' does not exist; give a text file, one name a line")
        return None
    target = folder / "classes.txt"
    if source.absolute() != target:
        with replacing(target) as beside:
            shutil.copyfile(source, beside)
    return target


def _write_config(folder, section, features, kept, names):
    """features.yaml: a config for the models that read features."""
    labels = [item.label for items in kept.values() for item in items if item.label is not None]
    dtype = "uint8" if features.whitening else "float"
    model = {key.removeprefix("MODEL."): value for key, value in settings.layout(section, dtype).items()}
    if features.whitening:
        model["feature_dims"] = [len(features.whitening.components)]
    if labels:
        model["num_classes"] = len(read_names(names)) if names else max(labels) + 1
    if names:
        model["class_names"] = str(names)
    tree = {"MODEL": model}
    for name in kept:
        for mode in next((modes for start, modes in MODES.items() if name.startswith(start)), ("INFER",)):
            tree.setdefault(mode, {})["filelist"] = str(folder / f"{name}.list")
    tree["EXTRACTOR"] = section.model_dump(exclude_none=True)
    with replacing(folder / "features.yaml") as beside:
        beside.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), encoding="utf-8")
