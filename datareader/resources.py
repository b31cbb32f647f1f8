"""Handling files that cannot be opened because of the machine, not the file."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from datareader.stopping import check_stopped
from utils.errors import DataError, ResourceError

__all__ = ["out_of_files", "patiently"]

Result = TypeVar("Result")

TRIES, PAUSE_SECONDS = 100, 0.1


def out_of_files(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, says that too many files are open."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False


def patiently(function: Callable[..., Result], *arguments: object) -> Result:
    """`function(*arguments)`, tried again while too many files are open: other threads will close theirs.

    Raises ResourceError if that does not help within ten seconds.
    """
    for _ in range(TRIES):
        try:
            return function(*arguments)
        except DataError as error:
            if not out_of_files(error):
                raise
        check_stopped()
        time.sleep(PAUSE_SECONDS)
    raise ResourceError(
        "too many files are open in this process; raise the limit (`ulimit -n 4096`), or lower num_reader_threads"
    )
