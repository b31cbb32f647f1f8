"""Pickles larger than memory: the structure is read, long data stays in the file until it is needed.

`outline(path)` gives the object as `utils.pickles.safe.load` does, but each array is a `StoredArray`, and each long
string that is not part of an array is a `Stretch`. Both have `read()`.

Reading a structure costs microseconds an object and skips the data, so a shard of gigabytes can be counted, and any
one of its arrays fetched, without being loaded.
"""

import contextlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from utils.errors import DataError
from utils.pickles.bounded import Refused
from utils.pickles.safe import GLOBALS, Unpickler, encode, explained, set_array

LONG = 1024  # bytes from which a string is left in the file


Opener = Callable[[Path], contextlib.AbstractContextManager[Path]]


class Source(NamedTuple):
    """Where a pickle is: `reading(path)` gives a local file with its content, for the length of a with-block."""

    path: Path
    reading: Opener

    def open(self) -> contextlib.AbstractContextManager[BinaryIO]:
        """Its content as an open binary file; what goes wrong inside the with-block is a DataError."""
        return _opened(self)


@contextlib.contextmanager
def _opened(source):
    with explained(str(source.path)), source.reading(source.path) as copy, open(copy, "rb") as file:
        yield file


class Stretch:
    """`size` bytes of a file from `start` on.

    `text`: UTF-8 that spells bytes, as Python 3 writes them in protocols 0 to 2.
    """

    __slots__ = ("size", "source", "start", "text")

    def __init__(self, source: Source, start: int, size: int, text: bool):
        self.source, self.start, self.size, self.text = source, start, size, text

    def read(self) -> bytes:
        """The bytes. Raises DataError."""
        with self.source.open() as file:
            file.seek(self.start)
            data = file.read(self.size)
            return data.decode("utf-8").encode("latin1") if self.text else data


class StoredArray:
    """An array whose data is in the file: `read()` fetches it."""

    __slots__ = ("source", "state")

    def __init__(self, source: Source):
        self.source, self.state = source, None

    def read(self) -> np.ndarray:
        """The array. Raises DataError."""
        if self.state is None:
            raise DataError(f"'{self.source.path}': an array without content; fetch or write it again")
        *rest, data = self.state
        data = data.read() if isinstance(data, Stretch) else data
        with explained(str(self.source.path)):
            array = np.empty(0, np.int8)
            set_array(array, (*rest, data))
            return array


def outline(path: str | Path, encoding: str = "bytes", reading: Opener = contextlib.nullcontext) -> Any:
    """The structure of the pickle at `path`; `encoding` as in `safe.load`.

    `reading(path)` gives a local file for a path, now and whenever data is fetched later (storage.addresses.reading,
    where the path may be an address). Raises DataError.
    """
    source = Source(path, reading)
    with source.open() as file:
        return _Outliner(file, source, encoding).load()


def _long(code, form, text):
    """The loader of an instruction that holds a string of declared length, leaving long strings where they are."""
    short, width = Unpickler.dispatch[code[0]], struct.calcsize(form)

    def load(self):
        (size,) = struct.unpack(form, self.read(width))
        if size < LONG:
            self.file.seek(-width, 1)
            short(self)
            return
        self.append(Stretch(self.source, self.file.tell(), size, text))
        self.file.seek(size, 1)

    return load


class _Outliner(Unpickler):
    def __init__(self, file, source, encoding):
        def reconstruct(kind, shape, code):
            return StoredArray(source)

        def frombuffer(data, dtype, shape, order):
            array = StoredArray(source)
            array.state = 1, shape, dtype, order == "F", data
            return array

        def encoded(text, codec):
            if isinstance(text, Stretch) and codec in ("latin1", "latin-1"):
                return text
            return encode(text, codec)

        replaced = {"_reconstruct": reconstruct, "_frombuffer": frombuffer, "encode": encoded}
        super().__init__(
            file, encoding, {name: replaced.get(name.rpartition(".")[2], made) for name, made in GLOBALS.items()}, None
        )
        self.file, self.source = file, source

    def load_build(self):
        if not isinstance(self.stack[-2], StoredArray):
            return super().load_build()
        state = self.stack.pop()
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("it makes an array in an unknown way")
        self.stack[-1].state = state

    def load_frame(self):
        self.read(8)  # frames only announce how much to read ahead

    dispatch = {
        **Unpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.FRAME[0]: load_frame,
        **{
            code[0]: _long(code, form, text)
            for code, form, text in (
                (pickle.BINSTRING, "<I", False),
                (pickle.BINBYTES, "<I", False),
                (pickle.BINBYTES8, "<Q", False),
                (pickle.BYTEARRAY8, "<Q", False),
                (pickle.BINUNICODE, "<I", True),
                (pickle.BINUNICODE8, "<Q", True),
            )
        },
    }
