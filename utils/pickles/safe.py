"""Reading pickles from untrusted sources: arrays and plain containers are accepted, all else is refused.

Four things that a pickle can do are closed here: name a global (only those of `GLOBALS`, none of which runs code it was
given), set the state of an object (numpy trusts that state, so it is checked and rebuilt), make a builtin allocate
(`bytes(10**12)`), and number its memo up to 2**32 (the C unpickler then fills gigabytes; the Python one used here has a
dictionary). What a short pickle may cost otherwise is bounded in utils/pickles/bounded.py.
"""

import contextlib
import io
import math
import os
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from utils.errors import DataError, ZooError
from utils.pickles.bounded import BoundedUnpickler, Refused

_BROKEN = (
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
)
_PLAIN_TYPE = re.compile(r"b1|[iu][1248]|f(2|4|8|12|16)|c(8|16|24|32)|[SU][1-9][0-9]{0,8}")


def load(
    source: str | os.PathLike | bytes | bytearray | memoryview | BinaryIO,
    encoding: str = "latin1",
    what: str | None = None,
    error: type[ZooError] = DataError,
    more_globals: dict[str, Any] | None = None,
    persistent_load: Callable[[Any], Any] | None = None,
) -> Any:
    """The object in a pickle of protocol 0 to 5, written by Python 2 or 3 with numpy 1 or 2.

    source: a path, bytes, or a binary file object
    encoding: of Python 2 strings: "latin1" gives str, "bytes" leaves them bytes
    what: the name used in messages; the path by default
    error: the exception class to raise, built from one message
    more_globals: {"module.name": function} allowed besides numpy and builtins (PyTorch files)
    persistent_load: function of a persistent id (PyTorch files)
    """
    what = what or (str(source) if isinstance(source, (str, os.PathLike)) else "pickle")
    with explained(what, error), _opened(source) as file:
        return Unpickler(file, encoding, GLOBALS | (more_globals or {}), persistent_load).load()


@contextlib.contextmanager
def explained(what: str, error: type[ZooError] = DataError) -> Iterator[None]:
    """Turn what goes wrong while the pickle `what` is read into one sentence."""
    try:
        yield
    except Refused as refused:
        raise error(
            f"'{what}': refused: {refused}; only numpy arrays and plain containers are read, "
            "save it again with nothing else in it"
        ) from None
    except OSError as problem:
        raise error(f"'{what}' cannot be read: {problem.strerror or problem}") from problem
    except _BROKEN as problem:
        reason = f"{type(problem).__name__}: {problem}".rstrip(": ")
        raise error(f"'{what}' is not a readable pickle ({reason}); fetch or write it again") from problem


def _opened(source):
    if isinstance(source, (str, os.PathLike)):
        return open(source, "rb")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    return contextlib.nullcontext(source)


class Unpickler(BoundedUnpickler):
    """The interpreter, with `find_class` and the instructions BUILD and BYTEARRAY8 replaced."""

    def __init__(self, file: Any, encoding: str, allowed: dict[tuple[str, str], Any], persistent_load: Callable | None):
        super().__init__(file, encoding)
        self.allowed = allowed
        if persistent_load:
            self.persistent_load = persistent_load

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}"
        if wanted not in self.allowed:
            raise Refused(f"it asks for '{wanted}'")
        return self.allowed[wanted]

    def load_build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if type(made) is np.ndarray:
            set_array(made, state)
        elif isinstance(made, np.dtype):
            _set_dtype(made, state)
        elif not isinstance(made, OrderedDict):  # attributes of a dict (PyTorch's _metadata) are dropped
            raise Refused(f"it sets the state of a '{type(made).__name__}'")

    def load_bytearray8(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))  # the original clears `size` bytes before it reads any

    dispatch = {**BoundedUnpickler.dispatch, pickle.BUILD[0]: load_build, pickle.BYTEARRAY8[0]: load_bytearray8}


# numpy's own recipe for an array: an empty one, an unfinished dtype, and a state for each. The functions below follow
# it with arguments that were checked.

_NDARRAY = "numpy.ndarray"  # inert: called as a class it would allocate whatever it is asked for


def _reconstruct(kind, shape, code):
    if kind is not _NDARRAY or tuple(shape) != (0,) or _text(code) != "b":
        raise Refused("it makes an array in an unknown way")
    return np.empty(0, np.int8)


def _dtype(name, align=False, copy=True):
    """A dtype object of its own, because its byte order follows as state."""
    if not _PLAIN_TYPE.fullmatch(_text(name)):
        raise Refused(f"it holds an array of type '{_text(name)}'")
    return np.dtype(_text(name), copy=True)


def _set_dtype(dtype, state):
    """`state`: (version, byte order, subarray, names, fields, size, alignment, flags, ...)."""
    order, *structure = state[1:5]
    if _text(order) not in ("<", ">", "|", "=") or any(structure):
        raise Refused("it holds an array of a structured type")
    dtype.__setstate__((3, _text(order), None, None, None, dtype.itemsize, dtype.alignment, dtype.flags))


def set_array(array: np.ndarray, state: tuple) -> None:
    """`state`: (version, shape, dtype, column-major, data)."""
    version, shape, dtype, column_major, data = state
    _check_size(shape, dtype, data)
    array.__setstate__((version, shape, dtype, bool(column_major), _bytes_of(data)))


def _frombuffer(data, dtype, shape, order):
    _check_size(shape, dtype, data)
    return np.frombuffer(data, dtype).reshape(shape, order=_text(order))


def _scalar(dtype, data):
    _check_size((), dtype, data)
    return np.frombuffer(_bytes_of(data), dtype)[0]


def _check_size(shape, dtype, data):
    """The declared size must be the size that is there, so that a few bytes cannot ask for terabytes."""
    if not isinstance(data, (str, bytes, bytearray)):
        raise Refused("it holds an array of Python objects")
    if not isinstance(shape, tuple) or not all(type(length) is int for length in shape):
        raise Refused("it holds an array whose shape is not whole numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array of shape {list(shape)} and type {dtype} with {len(data)} bytes")


def _text(value):
    return value.decode("latin1") if isinstance(value, bytes) else value


def _bytes_of(data):
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


def encode(text: str, codec: str) -> bytes:
    """How Python 3 writes bytes in protocols 0 to 2. Other codecs would import modules."""
    if codec not in ("latin1", "latin-1"):
        name = codec if isinstance(codec, str) else type(codec).__name__
        raise Refused(f"it asks for the codec '{name}'")
    return text.encode("latin1")


def _bytes():
    """How Python 3 writes b"" in protocols 0 to 2. With an argument, `bytes` could be made to allocate."""
    return b""


def _bytearray(data=b"", codec="latin1"):
    return bytearray(encode(data, codec) if isinstance(data, str) else memoryview(data))


GLOBALS = {
    _NDARRAY: _NDARRAY,
    "numpy.dtype": _dtype,
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": encode,
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and 2
    GLOBALS[f"{_core}.multiarray._reconstruct"] = _reconstruct
    GLOBALS[f"{_core}.multiarray.scalar"] = _scalar
    GLOBALS[f"{_core}.numeric._frombuffer"] = _frombuffer
for _builtins in ("__builtin__", "builtins"):  # Python 2 and 3
    for _name, _function in (
        ("bytes", _bytes),
        ("bytearray", _bytearray),
        ("set", set),
        ("frozenset", frozenset),
        ("tuple", tuple),
    ):
        GLOBALS[f"{_builtins}.{_name}"] = _function
