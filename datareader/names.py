"""Class names from a text file or from YouTube-8M's vocabulary."""

import csv
import os
import re

from datareader.lists import read_lines
from storage import addresses
from utils.errors import DataError, ObjectError, shown

__all__ = ["read_names"]


def read_names(path: str | os.PathLike) -> list[str]:
    """Class names in index order. Raises DataError.

    A text file has `name` lines, or `name index` or `index name` lines that have each index once. A `.csv` file is
    YouTube-8M's vocabulary.csv.
    """
    if addresses.suffix(path) == ".csv":
        return _vocabulary(path)
    lines = read_lines(path, "class names")
    fields = [line.split() for line in lines]
    for position in (0, -1):
        # A line of one number only is a name. Other scripts' digits, such as those of `zone ²`, are no index.
        numbers = [int(words[position]) for words in fields if len(words) > 1 and _is_index(words[position])]
        if sorted(numbers) == list(range(len(lines))):
            rest = [" ".join(words[:-1] if position else words[1:]) for words in fields]
            return [name for _, name in sorted(zip(numbers, rest, strict=True))]
    return lines


def _is_index(word: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", word) is not None


def _vocabulary(path: str | os.PathLike) -> list[str]:
    """Names from the columns Index and Name; a few classes have no name, but each has a KnowledgeGraphId."""
    try:
        with addresses.reading(path) as copy, open(copy, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        names = {int(row["Index"]): row["Name"] or row["KnowledgeGraphId"] for row in rows}
    except ObjectError as error:
        raise DataError(f"class names {error}") from error
    except OSError as error:
        raise DataError(f"class names '{path}' cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"class names '{path}': expected the columns Index, KnowledgeGraphId and Name of YouTube-8M's "
            f"vocabulary.csv, or a text file with a name a line; found {type(error).__name__}: {shown(error)}"
        ) from error
    if sorted(names) != list(range(len(rows))):
        raise DataError(
            f"class names '{path}': the {len(rows)} rows do not have the indices 0 to {len(rows) - 1}, once each"
        )
    return [names[i] for i in range(len(rows))]
