"""Decode every clip of some lists and say what is wrong with them, before anything is trained on them.

The problems are: files that are unreadable or damaged, labels that are missing or out of range, files that are in two
lists or twice in one list (compared by path and by content), and classes with few clips or none. The first list is the
one to train on. `train.py --check_data` and `dataset/check.py` use this.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial

from datareader import lists
from datareader.clips.limits import DEFAULTS, Limits
from datareader.clips.pickles import decode_image, read_pickle
from datareader.clips.video import probe, read_frames
from datareader.parallel import each
from datareader.verdict import verdict
from storage import addresses
from storage.tables import write_csv
from utils.config.clips import ClipConfig
from utils.errors import ConfigError, ObjectError, VideoError

__all__ = ["Sample", "check", "check_config", "read_samples", "report"]


@dataclass(frozen=True)
class Sample:
    """A line of a list and what is in its file."""

    filelist: str  # name of the list
    sample: str  # path as written in the list
    path: str  # resolved path
    label: int | None = None  # from the list, or from the pickle
    frames: int = 0  # frames that decode
    width: int = 0  # pixels
    height: int = 0
    fps: float = 0.0  # 0: unknown, as for pickles
    codec: str = ""
    duration: float = 0.0  # seconds; 0: unknown
    bytes: int = 0
    problem: str = ""  # why it cannot be used
    content: str = ""  # hash of the content, only if another path has the same content


def read_samples(called: str, filelist: str, data_root: str | None = None, key: str = "LIST") -> list[Sample]:
    """One Sample for each line of a list; no file is opened yet. `key` is the config key that names the list.

    Raises DataError.
    """
    items = lists.read_clip_list(filelist, key, 0, labelled=False, data_root=data_root)
    return [
        Sample(called, item.name, str(item.path if addresses.is_remote(item.path) else item.path.resolve()), item.label)
        for item in items
    ]


def check(
    samples: Sequence[Sample],
    num_classes: int | None = None,
    workers: int = 2,
    fallback: str = "mp4",
    limits: Limits = DEFAULTS,
) -> list[Sample]:
    """The same Samples with everything known about their files. Each file is decoded once.

    Without `num_classes` no label is too large. `fallback` ("pkl" or "mp4") is the format of files whose ending is not
    recognised.
    """
    jobs = {sample.path: lists.is_pickle(sample.sample, fallback) for sample in samples}
    inspect = partial(_inspect, limits=limits)
    facts = {path: found for (path, _), found in each(inspect, list(jobs.items()), workers, "checking")}
    twins = _twins({path: found["bytes"] for path, found in facts.items() if found["bytes"]}, workers)
    checked = (replace(sample, **facts[sample.path], content=twins.get(sample.path, "")) for sample in samples)
    return [
        sample if sample.problem else replace(sample, problem=_wrong_label(sample.label, num_classes))
        for sample in checked
    ]


def _wrong_label(label: int | None, num_classes: int | None) -> str:
    """The problem with a label; an empty string if there is none."""
    if label is None:
        return "no label; expected `path label`"
    if label < 0 or (num_classes is not None and label >= num_classes):
        last = "" if num_classes is None else num_classes - 1
        return f"label '{label}' is not in 0..{last}"
    return ""


def _inspect(job: tuple[str, bool], limits: Limits) -> dict:
    """Facts about one file, as fields of Sample."""
    path, pickled = job
    size = {"bytes": 0}
    try:
        with addresses.reading(path) as file:
            size = {"bytes": os.path.getsize(file) if file.is_file() else 0}
            return size | (_pickle_facts(path, limits) if pickled else _clip_facts(path, limits))
    except (ObjectError, VideoError) as error:
        return size | {"problem": error.reason}


def _clip_facts(path: str, limits: Limits) -> dict:
    info = probe(path, limits)
    frames = len(
        read_frames(path, range, lambda frame: frame.shape, limits)
    )  # keeps only a shape for each decoded frame
    found = {
        "frames": frames,
        "width": info.width,
        "height": info.height,
        "fps": round(info.fps, 3),
        "codec": info.codec,
        "duration": round(info.duration, 3),
    }
    if frames != info.frames:
        found["problem"] = f"damaged: {frames} of its {info.frames} frames decode"
    return found


def _pickle_facts(path: str, limits: Limits) -> dict:
    _, label, images = read_pickle(path)
    shapes = [decode_image(image, path, index, limits).shape for index, image in enumerate(images)]
    return {"label": label, "frames": len(images), "width": shapes[0][1], "height": shapes[0][0], "codec": "jpeg"}


def _twins(sizes: dict[str, int], workers: int) -> dict[str, str]:
    """{path: hash} of the files whose content another file has too. Only files of equal size are read."""
    by_size = defaultdict(list)
    for path, size in sizes.items():
        by_size[size].append(path)
    same_size = [path for paths in by_size.values() if len(paths) > 1 for path in paths]
    hashes = dict(each(_hash, same_size, workers, "comparing"))
    shared = Counter(hashes.values())
    return {path: value for path, value in hashes.items() if shared[value] > 1}


def _hash(path: str) -> str:
    with addresses.reading(path) as copy, open(copy, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def report(
    samples: Sequence[Sample],
    num_classes: int | None = None,
    names: Sequence[str] | None = None,
    frames: int | None = None,
    csv_path: str | None = None,
) -> int:
    """Print the verdict and write the CSV file. The result is the exit status: 1 if something is wrong, else 0."""
    text, wrong = verdict(samples, num_classes, names, frames)
    if csv_path:
        write_csv(csv_path, [field.name for field in fields(Sample)], [asdict(sample).values() for sample in samples])
        text += f"\nEvery clip is listed in {csv_path}."
    print(text)
    return 1 if wrong else 0


def check_config(
    config: ClipConfig,
    names: Sequence[str],
    csv_path: str | None = None,
    modes: Sequence[str] = ("train", "valid"),
) -> int:
    """Check the lists that a configuration trains and validates on. Returns the exit status. Raises ZooError."""
    model = config.MODEL
    if not isinstance(config, ClipConfig):
        raise ConfigError(f"--check_data checks clips, but '{model.name}' reads features of videos; leave the flag out")
    sections = {mode: config.section(mode) for mode in modes if config.section(mode).filelist or mode == "train"}
    samples = [
        sample
        for mode, section in sections.items()
        for sample in read_samples(mode, section.filelist, section.data_root, f"{mode.upper()}.filelist")
    ]
    samples = check(samples, model.num_classes, os.cpu_count(), model.format, Limits.of(model))
    frames = config.segments("train") * model.seglen * model.frame_interval
    return report(samples, model.num_classes, names, frames, csv_path)
