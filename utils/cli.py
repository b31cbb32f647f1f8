"""Shared by the programs: flags in both spellings, messages for a wrong flag, one line per error, exit status 2."""

import argparse
import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from utils import runtime
from utils.errors import ConfigError, ZooError, nearest
from utils.log import Guarded, WithoutNotices, fill_closed_streams, for_screen, log, setup_log, shortened


def boolean(text: str) -> bool:
    """True or False from the words people use; an empty value is an error (old `--use_gpu` always took a value)."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"'{text}' is neither True nor False")
    return words[text.lower()]


def at_least(smallest: int) -> Callable[[str], int]:
    """A whole number that is not below `smallest`."""

    def number(text):
        if not text.lstrip("+-").isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {smallest}")
        return int(text)

    return number


def between(smallest: float, largest: float) -> Callable[[str], float]:
    """A number from `smallest` to `largest`, both of which may be."""

    def number(text):
        with contextlib.suppress(ValueError):
            if smallest <= float(text) <= largest:
                return float(text)
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from {smallest:g} to {largest:g}")

    return number


def words(text: str) -> list[str]:
    """The words between commas, in small letters."""
    return [word.strip().lower() for word in text.split(",") if word.strip()]


def path(text: str) -> str:
    """A path, with a `~` at its start replaced by the home folder; bash leaves it in `--flag=~/clips`."""
    return os.path.expanduser(text)


def given(text: str) -> str:
    """Type of an optional path; rejects "", usually an unset shell variable."""
    if not text.strip():
        raise argparse.ArgumentTypeError("'' is empty; give a path or an address, or leave the flag out")
    return path(text)


def assignment(text: str) -> tuple[str, str]:
    """('SECTION.key', 'value') from `-o SECTION.key=value`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{text}': expected SECTION.key=value, for example TRAIN.learning_rate=0.001")
    return key.strip(), value


class Parser(argparse.ArgumentParser):
    """argparse that takes `--model-name` for `--model_name` and names the nearest flag when one is unknown."""

    def __init__(self, **settings: Any):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def parse_args(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        return super().parse_args(self.spelt(argv))

    def spelt(self, argv: Sequence[str] | None) -> list[str]:
        """The words of a command line (None: this program's), flags with underscores."""
        return [self._underscored(word) for word in (sys.argv[1:] if argv is None else argv)]

    @staticmethod
    def _underscored(word):
        if not word.startswith("--"):
            return word
        flag, equals, value = word.partition("=")
        return "--" + flag[2:].replace("-", "_") + equals + value

    def error(self, message: str) -> NoReturn:
        for word in message.removeprefix("unrecognized arguments: ").split():
            guess = nearest(word.partition("=")[0], self._option_string_actions) if word.startswith("--") else None
            if guess and message.startswith("unrecognized"):
                message += f"; did you mean {guess}?"
                break
        self.exit(2, f"{self.prog}: error: {for_screen(message)}\nSee `python {self.prog} --help`.\n")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Flags of every driver."""
    parser.add_argument("--model_name", help="model to build, in any letter case")
    parser.add_argument(
        "--config",
        "--config_path",
        type=path,
        dest="config",
        help="YAML or old .txt file; default: the checkpoint's own, else configs/<model>.yaml",
    )
    parser.add_argument("--use_gpu", type=boolean, help="True or False; default: a GPU if this Paddle can use one")
    parser.add_argument(
        "--list_weights", action="store_true", help="show the released weights of --model_name, or of all, and exit"
    )
    parser.add_argument(
        "--summary", action="store_true", help="show the model's parameters, multiply-adds and size, and exit"
    )
    parser.add_argument("--batch_size", type=int, help="samples per step, instead of the config's")
    parser.add_argument(
        "-o",
        "--override",
        type=assignment,
        action="append",
        default=[],
        metavar="SECTION.key=value",
        help="set any key of the config; may be repeated",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="also print what else goes into the log file: the whole configuration"
    )
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")


def add_devices(parser: argparse.ArgumentParser) -> None:
    """The flag of the drivers that may run as several processes."""
    parser.add_argument(
        "--devices",
        metavar="N|0,1,3|cpu:N",
        help="number of GPUs, which of the visible ones, or processes on the CPU, each with its part of every batch "
        "(default: all visible GPUs, else one process)",
    )


def add_engine(parser: argparse.ArgumentParser, auto: str) -> None:
    """The flags of the drivers that only run a network; `auto` says where --engine=auto takes paddle.inference."""
    parser.add_argument(
        "--engine",
        choices=("auto", "inference", "executor"),
        default="auto",
        help="what runs weights: Paddle's plain executor, or paddle.inference with the folded program; auto (default): "
        f"paddle.inference on a CPU{auto}, for the models that it makes faster",
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="bf16: 16-bit products on a CPU that has them; auto: fp32 (default)",
    )


def overrides(args: argparse.Namespace, *pairs: tuple) -> dict[str, Any]:
    """Config overrides from flags: pairs of (value or None, dotted key, ...), then every `-o`."""
    found = {key: value for value, *keys in pairs if value is not None for key in keys}
    return {**found, **dict(args.override)}


def arguments(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """A program's arguments, as the first line of its log file; the old programs logged the same."""
    args = parser.parse_args(argv)
    log.debug("%s", args)
    return args


DEFAULTS = (signal.default_int_handler, signal.SIG_DFL)


def run(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a program's `main(argv)` and exit with its status.

    0: done, 1: some samples failed, 2: error, 130: interrupted (Ctrl-C), 143: terminated (SIGTERM).
    """
    runtime.apply()
    fill_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    output = Guarded(sys.stdout)
    with contextlib.redirect_stderr(WithoutNotices(sys.stderr)), contextlib.redirect_stdout(output):
        setup_log("--verbose" in (sys.argv if argv is None else argv))
        status = _status(main, argv, output)
        with contextlib.suppress(BrokenPipeError):
            output.flush()
    sys.exit(status)


def _status(main, argv, output):
    """The exit status of `main(argv)`; errors become one line on standard error."""
    try:
        return _interruptible(main, argv) or 0
    except KeyboardInterrupt as error:
        number = error.args[0] if error.args and error.args[0] in signal.valid_signals() else signal.SIGINT
        verb = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
        print(f"{verb}; only files logged above were written", file=sys.stderr)
        return 128 + number
    except BrokenPipeError:  # `| head` has seen enough
        output.drop()
    except (ZooError, OSError, MemoryError) as error:
        if "--debug" in (sys.argv if argv is None else argv):
            traceback.print_exc()
        print(shortened(for_screen(f"error: {_sentence(error)}")), file=sys.stderr)
    return 2


def _interruptible(main, argv):
    """`main(argv)`, which after Ctrl-C, SIGTERM or SIGHUP raises KeyboardInterrupt with the signal's number.

    Also where compiled code has turned that into an error of its own: Paddle raises ImportError while it is loaded, and
    SystemError while a graph is built. Signals that are ignored (nohup, a script's background jobs) stay ignored.
    """
    received = []

    def interrupt(number, frame):
        received.append(number)
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():
        return main(argv)
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler in DEFAULTS}
    for number in before:
        signal.signal(number, interrupt)
    try:
        return main(argv)
    except Exception as error:
        if received:
            raise KeyboardInterrupt(*received) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _sentence(error):
    """One line: what went wrong and what to do."""
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, ZooError):
        return f"{type(error).__name__}: {error}"
    advice = "check free space and permissions"
    if isinstance(error, MemoryError):
        advice = "lower the batch size or the size of frames"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        advice = "too many files are open: raise `ulimit -n`, or lower num_reader_threads"
    elif error.errno == errno.EIO:
        advice = "the disk or the network file system failed: see the system's log"
    return f"{type(error).__name__}: {error}; {advice} (--debug shows where it came up)"
