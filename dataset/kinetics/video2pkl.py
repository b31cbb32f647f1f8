"""Turn the clips of a Kinetics csv file into the old zoo's pickles: (video id, label, [JPEG of each frame]).

    python dataset/kinetics/video2pkl.py kinetics-400_train.csv train_mp4 train_pkl 8

Reads <source_dir>/<label>/<youtube_id>_<start>_<end>.mp4, times in seconds with six digits, and writes
<target_dir>/<youtube_id>_<start>_<end>.pkl. Whole pickles that are already there are kept, so an interrupted run
continues. What cannot be converted is listed in <target_dir>/failed.csv. Exit status 1 says there was some. The models
read the mp4s too: convert only where disk is cheaper than processor time.
"""

import logging
import pickle
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from datareader.clips.transforms import scale, scaled_size
from datareader.clips.video import read_frames
from datareader.names import read_names
from dataset.conversion import convert_all, write_failures, writing
from dataset.kinetics.generate_label import annotations
from utils import cli
from utils.errors import DataError, VideoError
from utils.pickles.lazy import outline

LABELS = "kinetics400_label.txt"
PROTOCOL = 4  # any Python 3 opens these with a plain pickle.load
COLUMNS = ("label", "youtube_id", "time_start", "time_end")
log = logging.getLogger("zoo")


class Clip(NamedTuple):
    source: Path
    target: Path
    label: int


def read_labels(path: str | Path) -> dict[str, int]:
    """{label: index} of a label file. Raises DataError."""
    if not Path(path).is_file():
        raise DataError(f"label file '{path}' does not exist; make it with generate_label.py, or name it with --labels")
    return {name: index for index, name in enumerate(read_names(path))}


def plan(
    path: str | Path, indices: dict[str, int], source_dir: str | Path, target_dir: str | Path
) -> tuple[list[Clip], list[VideoError]]:
    """([Clip], [VideoError of each line that names none]) of a csv file.

    `indices` are {label: index}. Raises DataError.
    """
    clips, failures = {}, []
    for line, row in annotations(path, COLUMNS):
        try:
            name = _stem(row)
            if row["label"] not in indices:
                raise ValueError(
                    f"the label '{row['label']}' is not in the label file; make it from this csv with generate_label.py"
                )
            clip = Clip(
                Path(source_dir) / row["label"] / f"{name}.mp4", Path(target_dir) / f"{name}.pkl", indices[row["label"]]
            )
            if clips.setdefault(clip.target, clip) != clip:
                raise ValueError(f"'{name}' stands in an earlier line with another label; only that one counts")
        except ValueError as error:
            failures.append(VideoError(f"{path}, line {line}", error))
    return list(clips.values()), failures


def _stem(row):
    """`<youtube_id>_<start>_<end>`; ValueError says why a row has none."""
    times = []
    for column in ("time_start", "time_end"):
        if not row[column].isdecimal():
            raise ValueError(f"{column} '{row[column]}' is not a whole number of seconds")
        times.append(f"{int(row[column]):06d}")
    name = row["youtube_id"]
    if not name or set(name) & set("/\\\0"):  # would be written outside the target folder
        raise ValueError(f"youtube_id '{name}' cannot be a file name")
    return "_".join((name, *times))


def convert(clip: Clip, quality: int = 95, short_size: int | None = None) -> bool:
    """Write one pickle; True, or False where it is there already.

    Raises VideoError for the clip, DataError for the target.
    """
    if _whole(clip):
        return False
    jpegs = read_frames(clip.source, range, partial(_jpeg, quality=quality, short_size=short_size))
    with writing(clip.target) as path, open(path, "wb") as file:
        pickle.dump((f"./{clip.target.stem}", clip.label, list(jpegs)), file, PROTOCOL)
    return True


def _whole(clip):
    """Whether the pickle is there, with this label and with frames: the old tool left such without any."""
    if not clip.target.exists():
        return False
    try:
        _, label, frames = outline(clip.target)
    except (DataError, TypeError, ValueError):
        return False
    return label == clip.label and bool(frames)


def _jpeg(frame, quality, short_size):
    """RGB uint8 [H, W, 3] -> its JPEG in an array without dimensions, so that frames of any length can be stacked."""
    height, width = frame.shape[:2]
    if short_size and short_size < min(width, height):
        frame = scale(frame, scaled_size(width, height, short_size, "keep_ratio"))
    jpeg = np.empty((), object)
    jpeg[()] = cv2.imencode(".jpg", frame[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return jpeg


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(prog="video2pkl.py", description=__doc__)
    parser.add_argument("csv", help="Kinetics csv file")
    parser.add_argument("source_dir", help="folder with a subfolder of mp4 clips for each label")
    parser.add_argument("target_dir", help="folder for the pickles")
    parser.add_argument("nproc", type=int, help="clips converted at a time")
    parser.add_argument(
        "--labels", default=LABELS, help=f"label file of generate_label.py (default: {LABELS} in the working folder)"
    )
    parser.add_argument("--quality", type=int, default=95, help="of the JPEGs, 1 to 100 (default: 95)")
    parser.add_argument(
        "--short_size", type=int, help="shrink frames to this short side, in pixels; default: as they are"
    )
    args = parser.parse_args(argv)
    if args.nproc < 1 or not 1 <= args.quality <= 100 or (args.short_size is not None and args.short_size < 1):
        parser.error(
            f"nproc '{args.nproc}', --quality '{args.quality}', --short_size '{args.short_size}': expected 1 or more, "
            "1 to 100, 1 or more"
        )
    if not Path(args.source_dir).is_dir():
        raise DataError(f"'{args.source_dir}' is not a folder; expected one with a subfolder of clips for each label")
    clips, failures = plan(args.csv, read_labels(args.labels), args.source_dir, args.target_dir)
    written, failed = convert_all(
        partial(convert, quality=args.quality, short_size=args.short_size), clips, args.nproc, "video2pkl"
    )
    failures += failed
    report = Path(args.target_dir) / "failed.csv"
    write_failures(report, failures)
    count = Counter(written)
    log.info(
        "%d pickles written to %s, %d were already there, %d could not be made%s",
        count[True],
        args.target_dir,
        count[False],
        len(failures),
        f": see {report}" if failures else "",
    )
    return 1 if failures else 0


if __name__ == "__main__":
    cli.run(main)
