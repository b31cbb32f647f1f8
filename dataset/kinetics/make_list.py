"""Write the list of the mp4 clips of a Kinetics csv file: an absolute path and a class index a line.

    python dataset/kinetics/make_list.py kinetics-400_val.csv data_k400/val_mp4 val.list

Looks for <source_dir>/<label>/<youtube_id>_<start>_<end>.mp4, times in seconds with six digits. Clips that are not
there (many have left YouTube) are left out, counted, and named in <out>.missing.csv. Exit status 1 says there were
some.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from dataset.conversion import write_failures, writing
from dataset.kinetics.video2pkl import LABELS, plan, read_labels
from utils import cli
from utils.errors import DataError, VideoError

log = logging.getLogger("zoo")


def make_list(path: str | Path, indices: dict[str, int], source_dir: str | Path) -> tuple[list[str], list[VideoError]]:
    """([line], [VideoError of each clip that is not there or that the csv file does not name properly]).

    Raises DataError.
    """
    clips, failures = plan(path, indices, source_dir, "")
    lines = [f"{clip.source.resolve()} {clip.label}" for clip in clips if clip.source.is_file()]
    failures += [VideoError(clip.source, "no such file") for clip in clips if not clip.source.is_file()]
    if not lines:
        raise DataError(
            f"'{source_dir}' holds none of the {len(clips)} clips of '{path}'; the first would be '{clips[0].source}'"
            if clips
            else f"'{path}' names no clip: {failures[0]}"
        )
    return lines, failures


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(prog="make_list.py", description=__doc__)
    parser.add_argument("csv", help="Kinetics csv file")
    parser.add_argument("source_dir", help="folder with a subfolder of mp4 clips for each label")
    parser.add_argument("out", help="list to write, for example val.list")
    parser.add_argument(
        "--labels", default=LABELS, help=f"label file of generate_label.py (default: {LABELS} in the working folder)"
    )
    args = parser.parse_args(argv)
    lines, failures = make_list(args.csv, read_labels(args.labels), args.source_dir)
    with writing(Path(args.out)) as path:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    missing = Path(f"{args.out}.missing.csv")
    write_failures(missing, failures)
    log.info(
        "%d clips listed in %s, %d left out%s",
        len(lines),
        args.out,
        len(failures),
        f": see {missing}" if failures else "",
    )
    return 1 if failures else 0


if __name__ == "__main__":
    cli.run(main)
