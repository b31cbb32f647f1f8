"""The label file of a Kinetics csv file: a line `<label> <index>` for each class, sorted.

    python dataset/kinetics/generate_label.py kinetics-400_train.csv kinetics400_label.txt

Any number of classes will do, Kinetics-600, -700 or your own. The order is that of the released weights: by code point.
"""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path

from storage.files import replacing
from utils import cli
from utils.errors import DataError

CLASSES = 400
log = logging.getLogger("zoo")


def annotations(path: str | Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """[(line number, {column: text})] of a csv file with a header line.

    A field that is not there is empty. Raises DataError.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            header = [(name or "").strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            rows = [
                (reader.line_num, {column: (row.get(column) or "").strip() for column in columns}) for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{path}' cannot be read: {error}") from error
    missing = [column for column in columns if column not in header]
    if missing:
        raise DataError(
            f"'{path}' has no column '{missing[0]}', its first line is '{','.join(header)}'; expected the header of "
            "Kinetics: label,youtube_id,time_start,time_end,split,is_cc (its test set has no labels)"
        )
    if not rows:
        raise DataError(f"'{path}' has a header and no line below it; fetch it again")
    return rows


def labels(path: str | Path) -> list[str]:
    """The distinct labels of a csv file, sorted by code point. Raises DataError."""
    rows = annotations(path, ["label"])
    empty = [line for line, row in rows if not row["label"]]
    if empty:
        raise DataError(
            f"'{path}', line {empty[0]}: the label is empty ({len(empty)} such lines); correct or remove it"
        )
    return sorted({row["label"] for _, row in rows})


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(prog="generate_label.py", description=__doc__)
    parser.add_argument("csv", help="Kinetics csv file with a column `label`")
    parser.add_argument("out", help="label file to write")
    args = parser.parse_args(argv)
    names = labels(args.csv)
    try:
        with replacing(args.out) as path:
            path.write_text("".join(f"{name} {index}\n" for index, name in enumerate(names)), encoding="utf-8")
    except OSError as error:
        raise DataError(f"'{args.out}' cannot be written: {error.strerror}") from error
    log.info("%d classes written to %s", len(names), args.out)
    if len(names) != CLASSES:
        log.warning("not %d classes as in Kinetics-400: set MODEL.num_classes=%d", CLASSES, len(names))


if __name__ == "__main__":
    cli.run(main)
