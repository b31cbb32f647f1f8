"""An interpreter of pickles that limits memory and time before anything large is built.

A pickle can take a value from its memo as often as it likes: sixty instructions make a tuple of 2**60 elements, which
takes no memory and for ever to hash, compare or print. So the work is counted: each instruction is one, and a tuple
counts as many as it has elements, at any depth, each time it is used. Bytes that are copied are counted against those
read. What is nested too deep would overflow the C stack of whoever looks at it later. Lists and dictionaries may be
filled after they were used; their nesting is checked at the end.
"""

import pickle
from collections import OrderedDict
from typing import Any

__all__ = ["MAX_DEPTH", "MAX_WORK", "BoundedUnpickler", "Refused"]

MAX_WORK = 10_000_000  # instructions and used elements; a shard of 1,000 videos has about 60,000
MAX_DEPTH = 100  # of containers in containers
MAX_MARKS = 1000  # open at once
MAX_DIGITS = 1024  # bytes of a whole number
SET_COST = 4  # an empty set takes four times the memory of an empty dictionary
FREE_BYTES = 64 << 20  # that may be copied however short the pickle is

HASHABLE = frozenset({tuple, frozenset})
CONTAINERS = frozenset({tuple, frozenset, list, set, dict, OrderedDict})

COPYING = {code[0] for code in (pickle.REDUCE, pickle.BUILD, pickle.OBJ, pickle.INST, pickle.NEWOBJ, pickle.NEWOBJ_EX)}
PLACING = (  # instructions that may leave a tuple or a set on the stack
    *(
        pickle.TUPLE,
        pickle.EMPTY_TUPLE,
        pickle.TUPLE1,
        pickle.TUPLE2,
        pickle.TUPLE3,
        pickle.FROZENSET,
        pickle.EMPTY_SET,
    ),
    *(pickle.DUP, pickle.PERSID, pickle.BINPERSID, pickle.MARK),
)
FETCHING = frozenset({pickle.GET[0], pickle.BINGET[0], pickle.LONG_BINGET[0]})  # mostly short strings
COSTLY = frozenset({*COPYING, *(code[0] for code in PLACING)})


class Refused(Exception):
    """The refusal as text: what the pickle asked for."""


class BoundedUnpickler(pickle._Unpickler):
    """The interpreter of Python's library, with a count. Raises Refused."""

    def __init__(self, file: Any, encoding: str):
        super().__init__(file, encoding=encoding)
        self._source, self._copied = file, 0
        self._nested = {}  # id -> (tuple that holds tuples, kept so that the id stays its own; its depth; its elements)

    def load(self) -> Any:
        """The object. Raises Refused, and what the original raises for damaged pickles."""
        frames = pickle._Unframer(self._file_read, self._file_readline)
        self._unframer = frames
        self.read, self.readinto, self.readline = frames.read, frames.readinto, frames.readline
        self.metastack, self.stack, self.proto = [], [], 0
        self.append = self.stack.append
        try:
            self._interpret()
        except pickle._Stop as stop:
            check_nesting(stop.value)
            return stop.value

    def _interpret(self):
        read, dispatch, left = self.read, self.dispatch, MAX_WORK
        while left > 0:
            key = read(1)
            if not key:
                raise EOFError
            code = key[0]
            dispatch[code](self)
            if code in COSTLY or (code in FETCHING and type(self.stack[-1]) in HASHABLE):
                left -= self._cost(code)
            left -= 1
        raise Refused(f"it takes more than {MAX_WORK:,} steps to read")

    def _cost(self, code):
        """Steps that an instruction stands for besides itself, by what it left on the stack."""
        if code == pickle.MARK[0]:
            if len(self.metastack) > MAX_MARKS:
                raise Refused(f"it nests more than {MAX_MARKS} deep")
            return 0
        made = self.stack[-1]
        if code in COPYING:
            self._count_copy(made)
        if type(made) in HASHABLE:
            return self._weight(made)[1]
        return SET_COST if type(made) is set else 0

    def _weight(self, value):
        """(depth, elements at any depth) of a tuple or frozenset, whose own elements were weighed before."""
        if id(value) in self._nested:
            return self._nested[id(value)][1:]
        depth, size = 0, 1 + len(value)
        for child in value:
            if type(child) in HASHABLE:
                _, below, inside = self._nested.get(id(child), (None, 1, 1 + len(child)))
                depth, size = max(depth, below), size + inside
        if depth >= MAX_DEPTH:
            raise Refused(f"it nests more than {MAX_DEPTH} deep")
        if depth:
            self._nested[id(value)] = value, depth + 1, size
        return depth + 1, size

    def _count_copy(self, made):
        """Refuse repeated copies of the same data: what calls create must be in proportion to what was read."""
        size = getattr(made, "nbytes", None)
        if size is None:
            size = (
                len(made)
                if isinstance(made, bytes | bytearray | str)
                else 8 * len(made)
                if hasattr(made, "__len__")
                else 0
            )
        self._copied += size
        if self._copied > FREE_BYTES and self._copied > 4 * self._source.tell() + FREE_BYTES:
            raise Refused("it copies the same data many times")

    def load_long4(self) -> None:
        size = int.from_bytes(self.read(4), "little", signed=True)
        if not 0 <= size <= MAX_DIGITS:
            raise Refused(f"it holds a whole number of {size} bytes")
        self.append(int.from_bytes(self.read(size), "little", signed=True))

    dispatch = {**pickle._Unpickler.dispatch, pickle.LONG4[0]: load_long4}


def check_nesting(root: Any) -> None:
    """Refuse an object that contains itself, or that is too deep or too large when its containers are written out."""
    done, open_ids = {}, set()  # id -> (depth, elements)
    todo = [root]
    while todo:
        value = todo[-1]
        if type(value) not in CONTAINERS or id(value) in done:
            todo.pop()
            continue
        inside = _inside(value)
        if id(value) not in open_ids:
            open_ids.add(id(value))
            todo += inside
            if any(id(child) in open_ids for child in inside):
                raise Refused("it holds a container that contains itself")
            continue
        todo.pop()
        open_ids.discard(id(value))
        depth = 1 + max((done[id(child)][0] for child in inside), default=0)
        size = 1 + len(value) + sum(done[id(child)][1] for child in inside)
        if depth > MAX_DEPTH or size > MAX_WORK:
            raise Refused(f"it nests more than {MAX_DEPTH} deep, or repeats itself to more than {MAX_WORK:,} elements")
        done[id(value)] = depth, size


def _inside(value):
    """The containers that a container holds, as elements, keys or values."""
    found = [child for child in value if type(child) in CONTAINERS]
    if isinstance(value, dict):
        found += [child for child in value.values() if type(child) in CONTAINERS]
    return found
