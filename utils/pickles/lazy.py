"""Pickles larger than memory: their structure is read, what is long stays in the file until it is asked for.

    outline(path) -> the object as `utils.pickles.safe.load` gives it, but each array is a `StoredArray` and each long string
    that is not part of an array a `Stretch`; both have `read()`

Reading a structure costs microseconds an object and skips the data, so a shard of gigabytes can be counted, and any one of
its arrays fetched, without being loaded.
"""

import pickle
import struct

import numpy as np

from storage import addresses
from utils.errors import DataError
from utils.pickles.safe import GLOBALS, Refused, Unpickler, encode, explained, set_array

LONG = 1024  # bytes from which a string is left in the file


class Stretch:
    """`size` bytes of a file from `start` on; `text`: UTF-8 that spells bytes, as Python 3 writes them in protocols 0 to 2."""

    __slots__ = ("path", "start", "size", "text")

    def __init__(self, path, start, size, text):
        self.path, self.start, self.size, self.text = path, start, size, text

    def read(self):
        """The bytes. Raises DataError."""
        with explained(str(self.path)), addresses.reading(self.path) as copy, open(copy, "rb") as file:
            file.seek(self.start)
            data = file.read(self.size)
            return data.decode("utf-8").encode("latin1") if self.text else data


class StoredArray:
    """An array whose data is in the file: `read()` fetches it."""

    __slots__ = ("path", "state")

    def __init__(self, path):
        self.path, self.state = path, None

    def read(self):
        """The numpy array. Raises DataError."""
        if self.state is None:
            raise DataError(f"'{self.path}': an array without content; fetch or write it again")
        *rest, data = self.state
        data = data.read() if isinstance(data, Stretch) else data
        with explained(str(self.path)):
            array = np.empty(0, np.int8)
            set_array(array, (*rest, data))
            return array


def outline(path, encoding="bytes"):
    """The structure of the pickle at `path`; `encoding` as in `load`. Raises DataError."""
    with explained(str(path)), addresses.reading(path) as copy, open(copy, "rb") as file:
        return _Outliner(file, path, encoding).load()


def _long(code, form, text):
    """The loader of an instruction that holds a string of declared length, leaving long strings where they are."""
    short, width = Unpickler.dispatch[code[0]], struct.calcsize(form)

    def load(self):
        (size,) = struct.unpack(form, self.read(width))
        if size < LONG:
            self.file.seek(-width, 1)
            short(self)
            return
        self.append(Stretch(self.path, self.file.tell(), size, text))
        self.file.seek(size, 1)

    return load


class _Outliner(Unpickler):
    def __init__(self, file, path, encoding):
        def reconstruct(kind, shape, code):
            return StoredArray(path)

        def frombuffer(data, dtype, shape, order):
            array = StoredArray(path)
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
        self.file, self.path = file, path

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
