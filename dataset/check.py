"""Look at every clip or Kinetics pickle of some lists before training on them.

    python dataset/check.py train.list val.list --csv clips.csv

Decodes everything; finds unreadable and damaged files, labels that are missing or out of range, files that stand in two lists
or twice in one (by path and by content), and classes with few clips or none. The first list counts as the one to train on.
`python train.py ... --check_data` does this with the lists of a config. Exit status 1 says that something is wrong.
"""

import csv
import hashlib
import logging
import os
import sys
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from datareader import lists
from datareader.clips.dataset import decode_jpeg, read_pickle
from datareader.clips.video import probe, read_frames
from dataset.conversion import each
from dataset.verdict import verdict
from storage import addresses
from storage.files import replacing
from utils import cli
from utils.config.clips import ClipConfig
from utils.errors import ConfigError, DataError, ObjectError, VideoError

log = logging.getLogger("zoo")


@dataclass(frozen=True)
class Sample:
    """A line of a list and what is in its file."""

    filelist: str  # what the list that names it is called
    sample: str  # its path as the list wrote it
    path: str  # resolved
    label: int | None = None  # of the list, or inside the pickle
    frames: int = 0  # that decode
    width: int = 0  # pixels
    height: int = 0
    fps: float = 0.0  # 0: not known, as of pickles
    codec: str = ""
    duration: float = 0.0  # seconds; 0: not known
    bytes: int = 0
    problem: str = ""  # why it cannot be used
    content: str = ""  # what its file is called where another one, under another path, has the same bytes


def read_samples(called, filelist, data_root=None, key="LIST"):
    """A Sample for each line of a list, files not yet opened; `key` is who asks for the list. Raises DataError."""
    items = lists.read_clip_list(filelist, key, 0, labelled=False, data_root=data_root)
    return [
        Sample(called, item.name, str(item.path if addresses.is_remote(item.path) else item.path.resolve()), item.label)
        for item in items
    ]


def check(samples, num_classes=None, workers=2, fallback="mp4"):
    """The Samples with everything known about their files, each decoded once. Without `num_classes` no label is too large;
    `fallback`, pkl or mp4, is what a file is whose name does not tell by its ending."""
    jobs = {sample.path: lists.is_pickle(sample.sample, fallback) for sample in samples}
    facts = {path: found for (path, _), found in each(_inspect, list(jobs.items()), workers, "checking")}
    twins = _twins({path: found["bytes"] for path, found in facts.items() if found["bytes"]}, workers)
    checked = (replace(sample, **facts[sample.path], content=twins.get(sample.path, "")) for sample in samples)
    return [
        sample if sample.problem else replace(sample, problem=_wrong_label(sample.label, num_classes))
        for sample in checked
    ]


def _wrong_label(label, num_classes):
    """What is wrong with a label, or nothing."""
    if label is None:
        return "no label; expected `path label`"
    if label < 0 or (num_classes is not None and label >= num_classes):
        return f"label '{label}' is not in 0..{'' if num_classes is None else num_classes - 1}"
    return ""


def _inspect(job):
    """What is in a file, as fields of Sample."""
    path, pickled = job
    size = {"bytes": 0}
    try:
        with addresses.reading(path) as file:
            size = {"bytes": os.path.getsize(file) if file.is_file() else 0}
            return size | (_pickle_facts(path) if pickled else _clip_facts(path))
    except (ObjectError, VideoError) as error:
        return size | {"problem": error.reason}


def _clip_facts(path):
    info = probe(path)
    frames = len(read_frames(path, range, lambda frame: frame.shape))  # a shape each: all are decoded, none is kept
    found = {
        "frames": frames,
        "width": info.width,
        "height": info.height,
        "fps": round(info.fps, 3),
        "codec": info.codec,
        "duration": round(info.duration, 3),
    }
    return (
        found if frames == info.frames else found | {"problem": f"damaged: {frames} of its {info.frames} frames decode"}
    )


def _pickle_facts(path):
    _, label, jpegs = read_pickle(path)
    shapes = [decode_jpeg(jpeg, path, index).shape for index, jpeg in enumerate(jpegs)]
    return {"label": label, "frames": len(jpegs), "width": shapes[0][1], "height": shapes[0][0], "codec": "jpeg"}


def _twins(sizes, workers):
    """{path: name of its content} of the files whose bytes another file has too; only files of equal size are read."""
    by_size = defaultdict(list)
    for path, size in sizes.items():
        by_size[size].append(path)
    hashes = dict(
        each(_hash, [path for paths in by_size.values() if len(paths) > 1 for path in paths], workers, "comparing")
    )
    shared = Counter(hashes.values())
    return {path: value for path, value in hashes.items() if shared[value] > 1}


def _hash(path):
    with addresses.reading(path) as copy, open(copy, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def write_csv(path, samples):
    """One line a sample, columns as the fields of Sample. Raises DataError."""
    try:
        with replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
            rows = csv.DictWriter(file, [field.name for field in fields(Sample)])
            rows.writeheader()
            rows.writerows(map(asdict, samples))
    except OSError as error:
        raise DataError(f"--csv '{path}' cannot be written: {error.strerror}") from error


def report(samples, num_classes=None, names=None, frames=None, csv_path=None):
    """Print the verdict, write the CSV file; the exit status: 1 if something is wrong."""
    text, wrong = verdict(samples, num_classes, names, frames)
    if csv_path:
        write_csv(csv_path, samples)
        text += f"\nEvery clip is listed in {csv_path}."
    print(text)
    return 1 if wrong else 0


def check_config(config, names, csv_path=None, modes=("train", "valid")):
    """Check the lists that a configuration trains and validates on. Returns the exit status; raises ZooError."""
    model = config.MODEL
    if not isinstance(config, ClipConfig):
        raise ConfigError(
            f"--check_data looks at clips, but '{model.name}' reads features of videos; leave the flag out"
        )
    sections = {mode: config.section(mode) for mode in modes if config.section(mode).filelist or mode == "train"}
    samples = [
        sample
        for mode, section in sections.items()
        for sample in read_samples(mode, section.filelist, section.data_root, f"{mode.upper()}.filelist")
    ]
    samples = check(samples, model.num_classes, os.cpu_count(), model.format)
    return report(
        samples, model.num_classes, names, config.segments("train") * model.seglen * model.frame_interval, csv_path
    )


def main(argv=None):
    parser = cli.Parser(prog="dataset/check.py", description=__doc__)
    parser.add_argument(
        "filelist", nargs="+", metavar="LIST", help="list of clips or pickles, the one to train on first"
    )
    parser.add_argument(
        "--data_root", help="folder that relative paths start from (default: as in training, the list's folder)"
    )
    parser.add_argument(
        "--num_classes", type=int, help="number of classes; default: that of --class_names, else the largest label says"
    )
    parser.add_argument("--class_names", help="text file with the names of the classes, for the report")
    parser.add_argument("--frames", type=int, help="say how many clips have fewer frames than this")
    parser.add_argument("--csv", help="table of all clips to write")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="clips decoded at a time (default: one a CPU core)"
    )
    args = parser.parse_args(argv)
    if args.workers < 1 or (args.num_classes is not None and args.num_classes < 1):
        parser.error(f"--workers '{args.workers}' and --num_classes '{args.num_classes}' must be at least 1")
    names = lists.read_names(args.class_names) if args.class_names else None
    count = args.num_classes or (len(names) if names else None)
    if names and len(names) != count:
        raise ConfigError(f"'{args.class_names}' names {len(names)} classes, --num_classes is '{count}'")
    samples = [sample for path in args.filelist for sample in read_samples(path, path, args.data_root)]
    return report(check(samples, count, args.workers), count, names, args.frames, args.csv)


if __name__ == "__main__":
    cli.run(main)
