"""Turn frame-level YouTube-8M TFRecord shards into the old zoo's pickles. TensorFlow is not needed.

    python dataset/youtube8m/tf2pkl.py tf/train pkl/train

Each <name>.tfrecord becomes <name>.pkl; what is already there is skipped, so an interrupted run continues. The models
read the TFRecords too, just as fast: convert for tools that know only the pickles.
"""

import logging
import os
import pickle
import struct
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from datareader.features.examples import parse_sequence_example
from datareader.features.tfrecord import records
from storage.files import replacing
from utils import cli
from utils.errors import DataError

CLASSES, FRAMES = 3862, 300  # of the 2018 vocabulary; all rows are stored, `nframes` says how many to use
log = logging.getLogger("zoo")


def old_record(example: dict[str, Any]) -> dict[bytes, Any]:
    """The old zoo's dictionary of a video. Bytes keys: its Python 2 and Python 3 readers find only those."""
    labels = sorted({label for label in example["labels"] or () if label < CLASSES})
    return {
        b"video": example["id"].encode(),
        b"feature": example["rgb"],
        b"audio": example["audio"],
        b"label": labels,
        b"nframes": min(len(example["rgb"]), FRAMES),
    }


def instructions(value: Any) -> bytes:
    """The pickle instructions (protocol 2) that make a dict, list, int, bytes or uint8 matrix, as Python 2 wrote them.

    Python 3's own pickles would be half as large again, twenty times as slow to read, and name modules of numpy 2.
    """
    if isinstance(value, dict):
        return (
            pickle.EMPTY_DICT
            + pickle.MARK
            + b"".join(instructions(part) for item in value.items() for part in item)
            + pickle.SETITEMS
        )
    if isinstance(value, list):
        return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(instructions, value)) + pickle.APPENDS
    if isinstance(value, bytes):
        return pickle.BINSTRING + struct.pack("<i", len(value)) + value
    if isinstance(value, np.ndarray):
        rows, width = value.shape
        return EMPTY_ARRAY + MATRIX_STATE % (instructions(rows), instructions(width), instructions(value.tobytes()))
    return pickle.BININT + struct.pack("<i", value)


# numpy pickles an array as an empty array and its state (version, shape, dtype, column-major, data); dtypes likewise.
EMPTY_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
MATRIX_STATE = (
    b"(K\x01%b%b\x86cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89%btb"
)


def write_pickle(path: str | Path, items: Iterable[Any]) -> int:
    """A pickle (protocol 2) of the list of `items` that holds one of them in memory at a time; returns how many."""
    count = 0
    with open(path, "wb") as file:
        file.write(pickle.PROTO + b"\x02" + pickle.EMPTY_LIST)
        for item in items:
            file.write(instructions(item) + pickle.APPEND)
            count += 1
        file.write(pickle.STOP)
    return count


def convert(source: str | Path, target: str | Path) -> int:
    """Write one shard's pickle; returns its number of videos. DataError for a damaged shard, then no pickle is left."""
    try:
        with replacing(target) as path:
            return write_pickle(path, (old_record(parse_sequence_example(record)) for record in records(source)))
    except OSError as error:
        raise DataError(f"'{target}' cannot be written: {error.strerror}") from error


def plan(folder: str | Path, out: str | Path, overwrite: bool = False) -> tuple[list[tuple[Path, Path]], int]:
    """[(shard, pickle to write)] of what is left to do, and the number of shards found."""
    shards = sorted(Path(folder).glob("*.tfrecord"))
    if not shards:
        raise DataError(f"'{folder}' holds no *.tfrecord file; give the folder of the frame-level shards")
    targets = {shard: Path(out) / f"{shard.name.split('.')[0]}.pkl" for shard in shards}
    if len(set(targets.values())) < len(shards):
        raise DataError(
            f"'{folder}' holds shards whose names agree up to the first dot, and so would their pickles; rename them"
        )
    return [(shard, target) for shard, target in targets.items() if overwrite or not target.exists()], len(shards)


def convert_all(jobs: Sequence[tuple[Path, Path]], workers: int) -> tuple[int, list[str]]:
    """Convert in `workers` processes; returns (videos written, [message of each damaged shard])."""
    videos, failures = 0, []
    with ProcessPoolExecutor(workers) as pool:
        running = [pool.submit(convert, *job) for job in jobs]
        for done in tqdm(as_completed(running), total=len(jobs), desc="tf2pkl", unit="shard", disable=None):
            try:
                videos += done.result()
            except BrokenProcessPool:
                raise DataError(
                    "a worker process was killed, probably for lack of memory; use fewer --workers"
                ) from None
            except DataError as error:
                failures.append(str(error))
    return videos, failures


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("tfrecord_dir", help="folder of *.tfrecord shards")
    parser.add_argument("out_dir", help="folder for the pickles")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="shards converted at a time; default: one a CPU core"
    )
    parser.add_argument("--overwrite", action="store_true", help="convert again what is already there")
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f"--workers is '{args.workers}'; expected at least 1")
    jobs, found = plan(args.tfrecord_dir, args.out_dir, args.overwrite)
    videos, failures = convert_all(jobs, args.workers)
    for failure in sorted(failures):
        log.error("not converted: %s", failure)
    log.info(
        "%d videos in %d pickles written to %s, %d were already there, %d shards could not be converted",
        videos,
        len(jobs) - len(failures),
        args.out_dir,
        found - len(jobs),
        len(failures),
    )
    return 1 if failures else 0


if __name__ == "__main__":
    cli.run(main)
