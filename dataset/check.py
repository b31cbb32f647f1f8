"""Check every clip and Kinetics pickle of some lists before training on them.

    python dataset/check.py train.list val.list --csv clips.csv

Decodes everything. Reports unreadable and damaged files, labels that are missing or out of range, files that are in two
lists or twice in one list (compared by path and by content), and classes with few clips or none. The first list is the
one to train on. `python train.py ... --check_data` does the same for the lists of a config. Exit status 1: something is
wrong.
"""

import os
from collections.abc import Sequence

from datareader.check import check, read_samples, report
from datareader.names import read_names
from utils import cli
from utils.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
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
    names = read_names(args.class_names) if args.class_names else None
    count = args.num_classes or (len(names) if names else None)
    if names and len(names) != count:
        raise ConfigError(f"'{args.class_names}' names {len(names)} classes, --num_classes is '{count}'")
    samples = [sample for path in args.filelist for sample in read_samples(path, path, args.data_root)]
    return report(check(samples, count, args.workers), count, names, args.frames, args.csv)


if __name__ == "__main__":
    cli.run(main)
