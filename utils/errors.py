"""The exception family. Every message names the offending value, what was expected, and what to do."""

import difflib
import re
from collections.abc import Iterable


class ZooError(Exception):
    """Base of everything this project raises on purpose; the drivers print it as one line and exit with status 2."""


class ConfigError(ZooError):
    """A flag, a config file or a config value that cannot be used."""


class DataError(ZooError):
    """A list, a record or a sample that cannot be used."""


class VideoError(DataError):
    """A clip that cannot be read: carries the path and the reason."""

    def __init__(self, path: object, reason: object):
        super().__init__(f"'{path}': {reason}")
        self.path, self.reason = str(path), str(reason)


class ObjectError(DataError):
    """The server refused an object (absent, access denied, too large): carries the address and the reason."""

    def __init__(self, address: object, reason: object):
        super().__init__(f"'{address}' {reason}")
        self.address, self.reason = str(address), str(reason)


class RemoteError(ZooError):
    """The server cannot be reached or the credentials are unusable.

    Not the object's fault, so no sample is skipped for it.
    """


class ResourceError(ZooError):
    """This machine has run out of something, such as open files; the file that was being read is not at fault."""


class WeightsError(ZooError):
    """A weight file that cannot be read, or that does not fit the model."""


class CheckpointError(ZooError):
    """A checkpoint that cannot be written or continued."""


class TrainingError(ZooError):
    """Training that cannot go on, such as a loss that is not a number."""


def redact_urls(text: str) -> str:
    """`text` without the secrets of addresses in it: a password before the host, a signature after `?`."""
    text = re.sub(r"(\w://)[^\s/@'\"]+@", r"\1...@", text)
    return re.sub(r"(\w://[^\s'\"?#]*)\?[^\s'\"#]*", r"\1?...", text)


def shown(value: object, longest: int = 200) -> str:
    """`value` as text for messages and results: of at most `longest` characters, and only such as UTF-8 can hold.

    Never raises: `str` of a whole number of more than 4300 digits would.
    """
    try:
        text = str(value)
    except ValueError:
        text = f"{type(value).__name__} of too many digits"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= longest else f"{text[:longest]}..."


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The member of `known` most like `word` in any letter case, or None."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


def unknown(kind: str, word: object, known: Iterable[str], renamed: dict[str, str] | None = None) -> str:
    """The sentence for a word that is not in `known`: "unknown model 'stnett'; did you mean 'STNET'? known: ...".

    `renamed` are {old name: the one known}: the nearest may be an old one.
    """
    guess = nearest(word, [*known, *(renamed or {})])
    guess = (renamed or {}).get(guess, guess)
    hint = f"; did you mean '{guess}'?" if guess else ";"
    return f"unknown {kind} '{word}'{hint} known: {', '.join(sorted(known))}"
