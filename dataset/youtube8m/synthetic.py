"""Small feature shards in YouTube-8M's format, made up so that a model can learn them: for trying and testing.

    python dataset/youtube8m/synthetic.py quickstart_data/features --format pkl

Each class has a direction in feature space; a video of one to three classes is noise around the sum of theirs. Writes
train/ and val/ with shards, train.list and val.list. The same seed gives the same files.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from datareader.features import tfrecord
from datareader.features.examples import WIDTHS, sequence_example
from datareader.features.quantising import quantised
from dataset.youtube8m.tf2pkl import old_record, write_pickle
from utils import cli

STRENGTH, NOISE = 0.5, 0.7  # of a class direction and of a frame, in dequantised units: features are in -2..2
MOST_LABELS = 3


def videos(part: str, count: int, classes: int = 16, frames: int = 12, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield `count` examples {"id", "labels", "rgb" uint8 [n, 1024], "audio" uint8 [n, 128]}, frames/2 <= n <= frames.

    `part` is "train" or "val": other videos of the same classes.
    """
    widths = WIDTHS
    directions = np.random.default_rng(seed).normal(0, STRENGTH, (classes, sum(widths.values())))
    for i in range(count):
        rng = np.random.default_rng([seed, part == "val", i])
        labels = np.sort(rng.choice(classes, rng.integers(1, min(MOST_LABELS, classes) + 1), replace=False))
        length = rng.integers((frames + 1) // 2, frames + 1)
        features = directions[labels].sum(axis=0) + rng.normal(0, NOISE, (length, directions.shape[1]))
        rgb, audio = np.split(quantised(features), [widths["rgb"]], axis=1)
        yield {"id": f"{part}_{i:05d}", "labels": labels.tolist(), "rgb": rgb, "audio": audio}


def write_shard(path: Path, examples: Iterable[dict[str, Any]]) -> None:
    """Write examples as a shard of the format that the path ends in: .pkl or .tfrecord."""
    if path.suffix == ".tfrecord":
        tfrecord.write(path, (sequence_example(**example) for example in examples))
    else:
        write_pickle(path, map(old_record, examples))


def make(
    folder: str | Path,
    form: str = "pkl",
    train: int = 256,
    val: int = 64,
    shard: int = 64,
    classes: int = 16,
    frames: int = 12,
    seed: int = 0,
) -> list[Path]:
    """Write `train` and `val` videos in shards of `shard` videos; returns the paths of the two lists."""
    folder, lists = Path(folder), []
    for part, count in (("train", train), ("val", val)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        names = [f"{part}/{part}{i:04d}.{form}" for i in range(-(-count // shard))]
        examples = videos(part, count, classes, frames, seed)
        for name in tqdm(names, desc=part, unit="shard", disable=None):
            write_shard(folder / name, islice(examples, shard))
        lists.append(folder / f"{part}.list")
        lists[-1].write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return lists


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("out_dir", type=cli.given, help="folder to write")
    parser.add_argument(
        "--format", choices=("pkl", "tfrecord"), default="pkl", help="old pickles or TFRecords; default pkl"
    )
    for name, default, meaning in (
        ("train", 256, "training videos"),
        ("val", 64, "validation videos"),
        ("shard", 64, "videos a shard"),
        ("classes", 16, "classes"),
        ("frames", 12, "most frames a video"),
        ("seed", 0, "of everything"),
    ):
        smallest = 0 if name == "seed" else 1
        parser.add_argument(
            f"--{name}", type=cli.at_least(smallest), default=default, help=f"{meaning}; default {default}"
        )
    args = vars(parser.parse_args(argv))
    lists = make(args.pop("out_dir"), args.pop("format"), **args)
    print("written:", *lists)


if __name__ == "__main__":
    cli.run(main)
