"""CSV tables: the only writer, and its reader. Cells that a spreadsheet would run as formulas are defused."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from storage import addresses
from storage.files import write_file
from utils.errors import DataError, ObjectError

__all__ = ["read_csv", "write_csv"]

# Spreadsheets run text that starts like this as a formula, so it gets a `'` in front. Text that already starts with `'`
# gets one too: removing one `'` then restores every cell.
FORMULA = re.compile("'*[=+@\\t\\r-]")


def write_csv(path: str | Path, header: Iterable, rows: Iterable[Iterable]) -> str | Path:
    """Write a table; returns the path. `read_csv` gives the cells back unchanged. Raises ConfigError, RemoteError."""
    lines = [[_defused(cell) for cell in row] for row in (header, *rows)]
    return write_file(path, lambda file: csv.writer(file).writerows(lines))


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """The rows of a table that `write_csv` wrote, as {column: cell}. Raises DataError."""
    try:
        with addresses.reading(path) as copy, open(copy, encoding="utf-8", newline="") as file:
            lines = [[_restored(cell) for cell in row] for row in csv.reader(file)]
    except ObjectError as error:
        raise DataError(f"table {error}") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"table '{path}' cannot be read: {error}") from error
    header, rows = (lines or [[]])[0], lines[1:]
    return [dict(zip(header, row, strict=False)) for row in rows]


def _defused(cell):
    """A cell as it is written."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def _restored(cell):
    """A cell as it was before `_defused`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
