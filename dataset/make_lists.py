"""Lists from a folder of clips, one subfolder a class:  my_clips/<class name>/**/<clip>

    python dataset/make_lists.py my_clips --val 0.2
    python train.py --model_name=TSN --config=my_clips/clips.yaml

    python dataset/make_lists.py my_clips --model STNET
    python train.py --config=my_clips/clips.yaml --pretrain=none

Opens every clip, splits each class, and writes train.list, val.list, classes.txt and clips.yaml (a config that points
at them) into --out, by default the folder itself. Without --model, clips.yaml is for pretrained weights of any model
on clips; with it, for training that model from scratch, as configs/small/ does. What cannot be read is left out and
named. Exit status 1 says there was some.
"""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from datareader import lists
from datareader.clips import video
from dataset import recipe
from storage import addresses
from storage.files import replacing, writable_folder
from utils import cli
from utils.errors import ConfigError, DataError

MINIMUM = 2  # clips of a class: one to learn from, one to check with


def find(folder: str | Path) -> dict[str, list[Path]]:
    """{class name: sorted clips} of the subfolders of `folder`. Raises DataError.

    Hidden subfolders and those without any clip do not count.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"'{folder}' is not a folder; expected one with a subfolder of clips for each class")
    classes = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            clips = [
                path
                for path in lists.files_in(entry)
                if path.suffix.lower() in lists.CLIPS and not path.name.startswith(".")
            ]
            if clips:
                classes[entry.name] = clips
    if len(classes) < 2:
        raise DataError(
            f"'{folder}': {len(classes)} subfolders with clips in them; expected one for each of two or more classes, "
            f"for example running/1.mp4 and jumping/2.mp4; clips end in {', '.join(lists.CLIPS)}"
        )
    return classes


def unreadable(clips: Sequence[Path]) -> dict[Path, str]:
    """{path: reason} of the clips that do not decode, or whose names no list can hold."""

    def reason(path):
        if len(str(path).splitlines()) > 1:
            return path, "a line break in its name; rename it"
        if str(path).encode(errors="replace") != os.fsencode(path):
            return path, "a name that is not UTF-8; rename it, or the folder"
        try:
            video.probe(path)
        except DataError as error:
            return path, getattr(error, "reason", str(error))
        return path, None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(
            tqdm(pool.map(reason, clips), total=len(clips), desc="checking", unit="clip", disable=None, leave=False)
        )
    return {path: why for path, why in found if why}


def split(
    classes: dict[str, list[Path]], share: float, seed: int
) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
    """(training, validation) lists of (path, label); `share` of each class, rounded, but at least one clip either way.

    Raises DataError for classes that are too small.
    """
    few = [f"'{name}' has {len(clips)}" for name, clips in classes.items() if len(clips) < MINIMUM]
    if few:
        raise DataError(
            f"each class needs {MINIMUM} readable clips or more: {'; '.join(few)}; add some, or move the folder away"
        )
    train, valid = [], []
    for label, clips in enumerate(classes.values()):
        order = np.random.default_rng([seed, label]).permutation(len(clips))
        count = min(max(1, round(share * len(clips))), len(clips) - 1)
        valid += [(clips[i], label) for i in sorted(order[:count])]
        train += [(clips[i], label) for i in sorted(order[count:])]
    return train, valid


def write(
    out: Path,
    classes: dict[str, list[Path]],
    train: list[tuple[Path, int]],
    valid: list[tuple[Path, int]],
    model: str | None = None,
) -> None:
    """The three text files and the config. Raises ConfigError for a `model` without a recipe for few clips."""
    out = Path(out).absolute()
    config = recipe.text(out, list(classes), len(train), model)
    names = {
        "train.list": _lines(out, train),
        "val.list": _lines(out, valid),
        "classes.txt": [f"{label} {name}" for label, name in enumerate(classes)],
    }
    for name, lines in names.items():
        with replacing(out / name) as path:
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with replacing(out / "clips.yaml") as path:
        path.write_text(config, encoding="utf-8")


def _lines(out, samples):
    """`path label`, the path relative to the list's folder where it lies inside."""
    for path, label in samples:
        path = path.absolute()
        text = str(path.relative_to(out) if path.is_relative_to(out) else path)
        text = text if text == text.lstrip() else os.path.join(".", text)  # readers strip lines
        yield f"{text} {label}"


def summary(
    classes: dict[str, list[Path]], train: list[tuple[Path, int]], valid: list[tuple[Path, int]], bad: dict[Path, str]
) -> str:
    """Counts per class and what was left out, as text."""
    counts = [Counter(label for _, label in part) for part in (train, valid)]
    lines = [f"{'train':>6} {'val':>6}  class"]
    lines += [f"{counts[0][label]:6} {counts[1][label]:6}  {name}" for label, name in enumerate(classes)]
    lines += [f"{len(train):6} {len(valid):6}  in all {len(classes)} classes"]
    return "\n".join(lines + [f"left out: '{path}': {reason}" for path, reason in bad.items()])


def make(
    folder: str | Path, share: float = 0.2, out: str | Path | None = None, seed: int = 0, model: str | None = None
) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]], dict[Path, str]]:
    """Scan, check, split, write. Returns (training samples, validation samples, {unreadable path: reason}).

    model: name of the model that is to be trained from scratch, or None for pretrained weights
    Raises ZooError.
    """
    if not 0 < share < 1:
        raise ConfigError(f"--val '{share}': expected a share between 0 and 1, for example 0.2")
    found, out = find(folder), folder if out is None else out
    if addresses.is_remote(out):
        raise ConfigError(f"--out '{out}' is an address; the lists are written into a folder of this machine: name one")
    writable_folder(out, "--out")
    bad = unreadable([path for clips in found.values() for path in clips])
    classes = {name: [path for path in clips if path not in bad] for name, clips in found.items()}
    try:
        train, valid = split(classes, share, seed)
    except DataError as error:
        reasons = "".join(f"; '{path}': {reason}" for path, reason in list(bad.items())[:3])
        raise DataError(f"{error}{reasons}") from error
    write(out, classes, train, valid, model)
    print(summary(classes, train, valid, bad))
    return train, valid, bad


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(prog="dataset/make_lists.py", description=__doc__)
    parser.add_argument("dir", type=cli.given, help="folder with a subfolder of clips for each class")
    parser.add_argument(
        "--val", type=float, default=0.2, help="share of each class that goes into val.list (default: 0.2)"
    )
    parser.add_argument("--out", type=cli.given, help="folder of what is written (default: DIR)")
    parser.add_argument("--seed", type=cli.at_least(0), default=0, help="of the split (default: 0)")
    parser.add_argument("--model", help="TSN, STNET or TPN: clips.yaml trains it from scratch, as configs/small/ does")
    args = parser.parse_args(argv)
    _, _, bad = make(args.dir, args.val, args.out, args.seed, args.model)
    return 1 if bad else 0


if __name__ == "__main__":
    cli.run(main)
