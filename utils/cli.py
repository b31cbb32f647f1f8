"""What the drivers share: flags in both spellings, messages for a wrong flag, one line per error, exit status 2."""

import argparse
import contextlib
import logging
import os
import sys
import traceback

from storage import cache
from utils.errors import ConfigError, ZooError, nearest, public

log = logging.getLogger("zoo")

LONGEST_MESSAGE = 4000  # characters


def boolean(text):
    """True or False from the words people use; an empty value is an error (old `--use_gpu` always took a value)."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"'{text}' is neither True nor False")
    return words[text.lower()]


def at_least(smallest):
    """A whole number that is not below `smallest`."""

    def number(text):
        if not text.lstrip("+-").isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least {smallest}")
        return int(text)

    return number


def path(text):
    """A path, with a `~` at its start replaced by the home folder; bash leaves it in `--flag=~/clips`."""
    return os.path.expanduser(text)


def given(text):
    """The path that a flag which may be left out was given; an empty one is an error, for it is an unset variable in somebody's script."""
    if not text.strip():
        raise argparse.ArgumentTypeError("'' is empty; give a path or an address, or leave the flag out")
    return path(text)


def assignment(text):
    """('SECTION.key', 'value') from `-o SECTION.key=value`."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{text}': expected SECTION.key=value, for example TRAIN.learning_rate=0.001")
    return key.strip(), value


class Parser(argparse.ArgumentParser):
    """argparse that takes `--model-name` for `--model_name` and names the nearest flag when one is unknown."""

    def __init__(self, **settings):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def parse_args(self, argv=None):
        return super().parse_args(self.spelt(argv))

    def spelt(self, argv):
        """The words of a command line (None: this program's), flags with underscores."""
        return [self._underscored(word) for word in (sys.argv[1:] if argv is None else argv)]

    @staticmethod
    def _underscored(word):
        if not word.startswith("--"):
            return word
        flag, equals, value = word.partition("=")
        return "--" + flag[2:].replace("-", "_") + equals + value

    def error(self, message):
        for word in message.removeprefix("unrecognized arguments: ").split():
            guess = nearest(word.partition("=")[0], self._option_string_actions) if word.startswith("--") else None
            if guess and message.startswith("unrecognized"):
                message += f"; did you mean {guess}?"
                break
        self.exit(2, f"{self.prog}: error: {message}\nSee `python {self.prog} --help`.\n")


def add_common(parser):
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
        "--list_weights", action="store_true", help="show the released weights of --model_name, or of all, and leave"
    )
    parser.add_argument(
        "--summary", action="store_true", help="show the model's parameters, multiply-adds and size, and leave"
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
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")


def add_devices(parser):
    """The flag of the drivers that may run as several processes."""
    parser.add_argument(
        "--devices",
        metavar="N|0,1,3|cpu:N",
        help="number of GPUs, which of the visible ones, or processes on the CPU, each with its part of every batch "
        "(default: all visible GPUs, else one process)",
    )


def overrides(args, *pairs):
    """Config overrides from flags: pairs of (value or None, dotted key, ...), then every `-o`."""
    found = {key: value for value, *keys in pairs if value is not None for key in keys}
    return {**found, **dict(args.override)}


def arguments(parser, argv):
    """What a driver was given, logged as its first line like the old drivers did. `--list_weights` is answered here, and ends it."""
    args = parser.parse_args(argv)
    if args.list_weights:
        from models import MODELS, find  # loads Paddle, which --help need not

        print(cache.listing([find(args.model_name).name] if args.model_name else list(MODELS)))
        sys.exit(0)
    log.info("%s", args)
    return args


def _close_output():
    """Nobody reads what is printed any more (`| head`): it goes nowhere from now on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Log(logging.StreamHandler):
    """A log whose reader may go away: the work goes on."""

    def handleError(self, record):
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            _close_output()
        else:
            super().handleError(record)


class _Public(logging.Formatter):
    """Whatever is logged, an address in it keeps its password or signature to itself."""

    def format(self, record):
        return public(super().format(record))


class _Quieter:
    """A stream without Paddle's two lines on OMP_NUM_THREADS above 1, which are for builds with OpenBLAS; its releases have MKL."""

    def __init__(self, stream):
        self.stream, self.dropped = stream, False

    def write(self, text):
        end_of_dropped = self.dropped and text == "\n"  # `print` writes it apart
        self.dropped = "OMP_NUM_THREADS" in text
        return len(text) if self.dropped or end_of_dropped else self.stream.write(text)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def setup_log():
    """Messages on standard output in the old zoo's layout: `[INFO: file.py:   12]: text`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file's name may hold what the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    handler = _Log(sys.stdout)
    handler.setFormatter(_Public("[%(levelname)s: %(filename)s: %(lineno)4d]: %(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


def _shortened(message):
    """A message without the middle of a value that fills screens."""
    return (
        message
        if len(message) <= LONGEST_MESSAGE
        else f"{message[: LONGEST_MESSAGE // 2]} [...] {message[-LONGEST_MESSAGE // 2 :]}"
    )


def run(main, argv=None):
    """Run a driver's `main(argv)` and leave with its status: 0 done, 1 some samples failed, 2 error, 130 interrupted."""
    setup_log()
    debug = "--debug" in (sys.argv if argv is None else argv)
    try:
        with contextlib.redirect_stderr(_Quieter(sys.stderr)):
            status = main(argv)
    except ZooError as error:
        if debug:
            traceback.print_exc()
        kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
        print(_shortened(public(f"error: {kind}{error}")), file=sys.stderr)
        status = 2
    except BrokenPipeError:  # `| head` has seen enough
        _close_output()
        status = 2
    except (OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        advice = (
            "lower the batch size or the size of frames"
            if isinstance(error, MemoryError)
            else "see that there is room and permission"
        )
        print(
            _shortened(public(f"error: {type(error).__name__}: {error}; {advice} (--debug shows where it came up)")),
            file=sys.stderr,
        )
        status = 2
    except KeyboardInterrupt:
        print("interrupted: only what is logged above as saved or written is there", file=sys.stderr)
        status = 130
    sys.exit(status or 0)
