"""What tools for many clips share: whole files only, and a list of what failed."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datareader.parallel import each
from storage.files import replacing
from storage.tables import write_csv
from utils.errors import DataError, VideoError


def convert_all(
    convert: Callable[[Any], Any], jobs: Sequence[Any], workers: int, title: str
) -> tuple[list[Any], list[VideoError]]:
    """([result of convert(job)], [VideoError]): a clip that cannot be converted stops no other.

    Raises DataError for the rest.
    """

    def attempt(job):
        try:
            return convert(job), None
        except VideoError as error:
            return None, error

    outcomes = [outcome for _, outcome in each(attempt, jobs, workers, title)]
    return [result for result, error in outcomes if not error], [error for _, error in outcomes if error]


@contextlib.contextmanager
def writing(target: str | Path) -> Iterator[Path]:
    """`replacing` for a converted clip: what stops this one would stop them all. Raises DataError."""
    try:
        with replacing(target) as path:
            yield path
    except OSError as error:
        raise DataError(f"'{target}' cannot be written: {error.strerror or error}") from error


def write_failures(path: str | Path, failures: Sequence[VideoError]) -> None:
    """A csv file with the columns sample and reason, sorted; an older one goes away when nothing failed."""
    path = Path(path)
    if not failures:
        path.unlink(missing_ok=True)
        return
    write_csv(path, ("sample", "reason"), sorted((failure.path, failure.reason) for failure in failures))
