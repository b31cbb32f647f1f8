"""Log lines, errors and the streams they go to.

Text from elsewhere (file names, class names, servers' answers) is shown, never obeyed: `for_screen` spells out control
characters and hides the secrets in addresses. All log lines and all errors go through it.
"""

import collections
import contextlib
import itertools
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from utils.errors import redact_urls
from utils.names import printable

__all__ = ["Guarded", "fill_closed_streams", "log", "log_file", "open_log", "setup_log", "shortened", "for_screen"]

log = logging.getLogger("zoo")

LONGEST_MESSAGE = 4000  # characters
EARLY = 200  # records kept until the log file is open


def for_screen(text: str) -> str:
    """`text` as it may be printed: control characters spelt out, except line ends, and no secrets in addresses."""
    return printable(redact_urls(text), keep="\n\t")


def shortened(message: str) -> str:
    """A message without the middle part of a value that would fill screens."""
    if len(message) <= LONGEST_MESSAGE:
        return message
    return f"{message[: LONGEST_MESSAGE // 2]} [...] {message[-LONGEST_MESSAGE // 2 :]}"


class Guarded:
    """A standard stream that may fail, because its reader has gone or its disk is full: work goes on without it.

    A broken pipe is raised once, for `print` outside the log: `program | head` has seen enough.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        self._try(self.stream.write, text)
        return len(text)

    def flush(self) -> None:
        self._try(self.stream.flush)

    def _try(self, function, *arguments):
        try:
            function(*arguments)
        except BrokenPipeError:
            self.drop()
            raise
        except OSError as error:
            self.drop()
            if self.stream.name != "<stderr>":
                reason = error.strerror or error
                print(f"warning: {self.stream.name} cannot be written ({reason}); work goes on", file=sys.stderr)

    def drop(self) -> None:
        """Send what is written from now on, and what waits in the buffer, to nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


NOTICES = ("OMP_NUM_THREADS", " Modified FLAGS detected ", "FLAGS(name='FLAGS_", f"{'=' * 71}\n")


class WithoutNotices(Guarded):
    """Standard error without what Paddle says of settings that this program made itself.

    Two lines on OMP_NUM_THREADS above 1 are for builds with OpenBLAS; Paddle's releases have MKL. A table of modified
    flags appears where several processes meet.
    """

    def __init__(self, stream: TextIO):
        super().__init__(stream)
        self.dropped = False

    def write(self, text: str) -> int:
        end_of_dropped = self.dropped and text == "\n"  # `print` writes it apart
        self.dropped = any(notice in text for notice in NOTICES)
        return len(text) if self.dropped or end_of_dropped else super().write(text)


class _Handler(logging.StreamHandler):
    """A log whose reader may go away: the work goes on."""

    def handleError(self, record):
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


class _OnScreen(logging.Formatter):
    """Plain sentences; warnings and errors start with their level."""

    def format(self, record):
        prefix = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        return for_screen(prefix + super().format(record))


class _InFile(logging.Formatter):
    """The old zoo's layout, which other programs read: `[INFO: file.py:   12]: text`."""

    def __init__(self):
        super().__init__("[%(levelname)s: %(filename)s: %(lineno)4d]: %(message)s")

    def format(self, record):
        return for_screen(super().format(record))


class _Waiting(logging.Handler):
    """Keeps the first records of a run until its log file is open."""

    def __init__(self):
        super().__init__()
        self.records = collections.deque(maxlen=EARLY)

    def emit(self, record):
        self.records.append(record)


def setup_log(verbose: bool = False) -> None:
    """Send log messages to standard output, as plain sentences.

    verbose: also those of level DEBUG, which else go only into the log file
    """
    screen = _Handler(sys.stdout)
    screen.setFormatter(_OnScreen())
    screen.setLevel(logging.DEBUG if verbose else logging.INFO)
    for handler in log.handlers:
        handler.close()
    log.handlers, log.propagate = [screen, _Waiting()], False
    log.setLevel(logging.DEBUG)


def open_log(folder: str | Path, name: str) -> Path | None:
    """Write all messages, also those so far, into `<folder>/<name>_<time>.log`.

    Returns its path; None where that cannot be.

    Every call opens a file of its own. Work goes on without one, with a warning.
    """
    stem = f"{name}_{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = next(path for path in _names(Path(folder), stem) if not path.exists())
        file = logging.FileHandler(path, mode="x", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        log.warning("no log file in '%s' (%s); work goes on", folder, error.strerror or error)
        return None
    file.setFormatter(_InFile())
    early = [record for handler in log.handlers if isinstance(handler, _Waiting) for record in handler.records]
    log.handlers = [*(handler for handler in log.handlers if not isinstance(handler, _Waiting)), file]
    for record in early:
        file.handle(record)
    return path


class _Host(logging.Handler):
    """Hands records to the handlers of the program around this one, as if its level were still that of "zoo"."""

    def __init__(self):
        super().__init__(log.getEffectiveLevel())
        self.handlers, self.propagate = log.handlers, log.propagate

    def emit(self, record):
        for handler in self.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
        if self.propagate:
            logging.getLogger().callHandlers(record)


@contextlib.contextmanager
def log_file(folder: str | Path, name: str) -> Iterator[None]:
    """`open_log` for a function of a larger program, whose own handlers get what they got before."""
    host, level = _Host(), log.level
    log.handlers, log.propagate = [host], False
    log.setLevel(logging.DEBUG)
    try:
        open_log(folder, name)
        yield
    finally:
        for handler in log.handlers[1:]:
            handler.close()
        log.handlers, log.propagate = host.handlers, host.propagate
        log.setLevel(level)


def _names(folder, stem):
    yield folder / f"{stem}.log"
    yield from (folder / f"{stem}-{number}.log" for number in itertools.count(2))


def fill_closed_streams() -> None:
    """Open the standard streams that the caller closed (`2>&-`), to nowhere.

    Otherwise the next file that is opened would take the stream's number, and libraries would print into that file.
    """
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest free number
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))
            setattr(sys, f"__{name}__", getattr(sys, name))
