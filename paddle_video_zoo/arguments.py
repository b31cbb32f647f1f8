"""Errors for Python programs: messages name the functions' arguments instead of the programs' flags."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from utils.errors import ZooError

__all__ = ["names_arguments"]

P, T = ParamSpec("P"), TypeVar("T")

RENAMED = {
    "model_name": "name",
    "video_path": "paths",
    "infer_topk": "topk",
    "epoch": "epochs",
    "window_seconds": "window",
    "stride_seconds": "stride",
}
# Values are in quotes and are not changed.
PATTERN = re.compile(r"(?<!\w)'[^']*'|(?<![\w-])--(?P<flag>[a-z_]+)|(?<!\w)-o (?P<key>[A-Z]+\.\w+)=(?P<value>\w+)")


def names_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """A function whose ZooErrors speak of arguments instead of flags."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except ZooError as error:
            error.args = tuple(_translated(part) if isinstance(part, str) else part for part in error.args)
            raise

    return wrapped


def _translated(message):
    return PATTERN.sub(_argument, message)


def _argument(match):
    flag, key = match["flag"], match["key"]
    if flag:
        return RENAMED.get(flag, flag)
    if key:
        return f"overrides={{'{key}': {match['value']}}}"
    return match[0]
