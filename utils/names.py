"""Showing names of classes, clips and files that come from others: control characters are displayed, not sent."""

import unicodedata

BLANKS = "Zs"  # Unicode's category of blanks: harmless, though Python calls all but one of them unprintable


def printable(text: object, keep: str = "") -> str:
    r"""`text` with control characters, direction marks and lone surrogates spelt out (`\x1b`, `\u202e`, `\udcff`).

    Such characters in a file's name could move the cursor, hide part of a line or forge one. `keep` names exceptions,
    for text of our own: "\n\t".
    """
    return "".join(char if _harmless(char) or char in keep else _spelt(char) for char in str(text))


def _harmless(char):
    return char.isprintable() or unicodedata.category(char) == BLANKS


def _spelt(char):
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def width(text: str) -> int:
    """Columns that `text` takes on a terminal: Chinese characters take two, combining marks none."""
    return sum(_columns(char) for char in text)


def _columns(char):
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
