"""Pickles from strangers: what data needs comes through unchanged, everything else is refused before it runs."""

import builtins
import io
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

from utils.errors import DataError, WeightsError
from utils.pickles.lazy import outline
from utils.pickles.safe import load

# As Python 2 and numpy 1 wrote {"label": 7, "rows": array([7, 255], uint8)} in protocol 2.
PYTHON_2 = (
    b"\x80\x02}(U\x05labelK\x07U\x04rowscnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    b"(K\x01K\x02\x85cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x02\x07\xfftbu."
)

VALUES = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">f8"),
    "half": np.ones(2, np.float16),
    "flags": np.array([True, False]),
    "point": np.array(3.5),
    "nothing": np.zeros((0, 4)),
    "words": np.array(["ab", "c"]),
    "bytes_words": np.array([b"ab"]),
    "scalar": np.float32(1.5),
    "text": "ü",
    "jpeg": b"\xff\xd8",
    "empty": b"",
    "buffer": bytearray(b"xy"),
    "ids": {1, 2},
    "fixed": frozenset([3]),
    "ordered": OrderedDict([("b", 1), ("a", 2)]),
    "plain": [(1, 2.5, None, True, 10**30)],
}


class Call:
    """Pickles as a call of `function` with `args`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def equal(found, wanted):
    if isinstance(wanted, np.ndarray):
        return (
            type(found) is np.ndarray
            and found.shape == wanted.shape
            and bool((found == wanted).all())
            and found.flags.writeable
        )
    return type(found) is type(wanted) and found == wanted


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(protocol):
    found = load(pickle.dumps(VALUES, protocol))
    assert list(found) == list(VALUES)
    assert [name for name in VALUES if not equal(found[name], VALUES[name])] == []


@pytest.mark.parametrize("protocol", range(4))
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_numpy_1_and_2(core, protocol):
    data = pickle.dumps(VALUES, protocol).replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", core)
    assert core + b".multiarray" in data
    assert equal(load(data)["matrix"], VALUES["matrix"])


def test_strings_of_python_2():
    text, raw = load(PYTHON_2), load(PYTHON_2, encoding="bytes")
    assert text["label"] == raw[b"label"] == 7
    assert text["rows"].tolist() == raw[b"rows"].tolist() == [7, 255]


def test_sources(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([1]))
    assert load(path) == load(str(path)) == load(path.read_bytes()) == load(io.BytesIO(path.read_bytes())) == [1]


@pytest.mark.parametrize(
    "function, args",
    [
        (os.system, ("touch {mark}",)),
        (eval, ("open('{mark}', 'w')",)),
        (open, ("{mark}", "w")),
        (getattr, (int, "real")),
        (Call, (int,)),
        (np.load, ("{mark}",)),
        (builtins.__import__, ("os",)),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_calls_are_refused_and_not_made(tmp_path, function, args, protocol):
    mark = tmp_path / "mark"
    args = [arg.format(mark=mark) if isinstance(arg, str) else arg for arg in args]
    data = pickle.dumps({"a": np.zeros(2), "b": Call(function, *args)}, protocol)
    with pytest.raises(DataError, match=rf"'evil': refused: it asks for '[\w.]+\.{function.__name__}'"):
        load(data, what="evil")
    assert not mark.exists()


@pytest.mark.parametrize(
    "value, reason",
    [
        (np.array([{}, 1], object), "an array of type 'O8'"),
        (np.zeros(2, [("a", "f4")]), "an array of type 'V4'"),
        (Call(np.dtype, "f4,O"), "an array of type 'f4,O'"),
        (Call(np.dtype, "S0"), "an array of type 'S0'"),
    ],
)
def test_arrays_that_are_not_numbers_or_text_are_refused(value, reason):
    with pytest.raises(DataError, match=reason):
        load(pickle.dumps(value))


FLOAT = b"\x80\x02cnumpy\ndtype\n(U\x02f4K\x00K\x01tR"
FLAGS_OF_OBJECTS = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb."
PAIRS = b"(K\x03U\x01<(cnumpy\ndtype\n(U\x02i1tRK\x02tNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb."


def test_the_state_of_a_dtype_is_not_trusted():
    found = load(FLOAT + FLAGS_OF_OBJECTS)
    assert found == np.float32 and found.flags == np.dtype(np.float32).flags
    with pytest.raises(DataError, match="refused: it holds an array of a structured type"):
        load(FLOAT + PAIRS)


def test_only_arrays_take_a_state():
    code = b"cbuiltins\nset\n" + b"}X\x03\x00\x00\x00addK\x01s" + b"b."
    with pytest.raises(DataError, match="sets the state of a 'type'"):
        load(b"\x80\x02" + code)
    described = b"ccollections\nOrderedDict\n)R}X\x09\x00\x00\x00_metadataK\x01sb."
    assert load(b"\x80\x02" + described) == {}


BOMBS = {
    "bytes(n)": pickle.dumps(Call(bytes, 1 << 26)),
    "bytearray(n)": pickle.dumps(Call(bytearray, 1 << 26)),
    "ndarray(n)": pickle.dumps(Call(np.ndarray, (1 << 26,))),
    "_reconstruct(n)": pickle.dumps(Call(np.zeros(1).__reduce__()[0], np.ndarray, (1 << 26,), b"b")),
    "an array's shape": PYTHON_2.replace(b"K\x02\x85cnumpy", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86cnumpy"),
    "a negative shape": PYTHON_2.replace(b"K\x02\x85cnumpy", b"J\xfe\xff\xff\xffJ\xff\xff\xff\xff\x86cnumpy"),
    "a scalar's data": pickle.dumps(Call(np.float32(1).__reduce__()[0], np.dtype(np.float32), b"12345678")),
    "a string's length": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"abc.",
    "a buffer's length": b"\x80\x05\x96" + struct.pack("<Q", 1 << 26) + b"abc.",
    "a frame's length": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"N",
    "an unknown codec": pickle.dumps(Call(__import__("_codecs").encode, "aa", "hex")),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_go_off(name):
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            load(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_far_memo_number_costs_nothing():
    tracemalloc.start()
    assert load(b"\x80\x02]r\x00\x00\x40\x00.") == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_every_truncation_is_an_error(protocol):
    data = pickle.dumps(VALUES, protocol)
    for length in range(len(data)):
        with pytest.raises(DataError):
            load(data[:length])


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_damage_is_never_another_exception(protocol):
    random, data = np.random.default_rng(protocol), pickle.dumps(VALUES, protocol)
    for _ in range(1000):
        damaged = bytearray(data)
        damaged[random.integers(len(data))] = random.integers(256)
        try:
            load(damaged)
        except DataError:
            pass


@pytest.mark.parametrize("data", [b"", b"\x80", b"hello, world\n", b"\x00" * 64, b"\x80\x09N."])
def test_no_pickle(data):
    with pytest.raises(DataError, match="'list 3' is not a readable pickle"):
        load(data, what="list 3")


def test_the_caller_names_the_error(tmp_path):
    with pytest.raises(WeightsError, match="a.pdparams' cannot be read: No such file"):
        load(tmp_path / "a.pdparams", error=WeightsError)
    with pytest.raises(WeightsError, match="not a readable pickle"):
        load(b"", error=WeightsError)


def test_more_globals_and_persistent_ids():
    data = b"\x80\x02ctorch\nFloatStorage\nK\x05\x86Q."
    assert load(data, more_globals={"torch.FloatStorage": "f4"}, persistent_load=lambda key: key) == ("f4", 5)
    with pytest.raises(DataError, match="refused: it asks for 'torch.FloatStorage'"):
        load(data)


def dictionary_key(code):
    """A pickle {what `code` leaves on the stack: 1}: the key is hashed."""
    return b"\x80\x02})" + code + b"K\x01s."


TINY = {  # name: (pickle of a few bytes to a few megabytes, why it is refused)
    "a doubled tuple as a key": (dictionary_key(b"2\x86" * 60), "takes more than 10,000,000 steps"),
    "a doubled tuple from the memo": (
        dictionary_key(b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))),
        "takes more than 10,000,000 steps",
    ),
    "a deep tuple": (b"\x80\x02)" + b"\x85" * 3_000_000 + b".", "it nests more than 100 deep"),
    "a deep list": (b"\x80\x02" + b"]" * 200 + b"a" * 199 + b".", "it nests more than 100 deep"),
    "open marks": (b"\x80\x02" + b"(" * 3_000_000 + b".", "it nests more than 1000 deep"),
    "lists doubled from within": (
        b"\x80\x02" + b"".join(b"]q%c" % i for i in range(40)) + b"0" * 39
        + b"".join(b"h%ch%cah%ca0" % (i, i + 1, i + 1) for i in range(39)) + b".",
        "repeats itself to more than 10,000,000 elements",
    ),
    "a list in itself": (b"\x80\x02]q\x00h\x00a.", "a container that contains itself"),
    "a huge number": (b"\x80\x02\x8b" + struct.pack("<i", 5000) + b"\x7f" * 5000 + b".", "whole number of 5000"),
    "many objects": (b"\x80\x04" + b"\x8f" * 3_000_000 + b".", "takes more than 10,000,000 steps"),
    "one key used often": (
        b"\x80\x02(" + b"K\x00" * 100_000 + b"tq\x000}" + b"h\x00Ns" * 1000 + b".",
        "takes more than 10,000,000 steps",
    ),
    "one buffer copied often": (
        b"\x80\x02T\x00\x00\x10\x00" + bytes(1 << 20) + b"q\x000" + b"cbuiltins\nbytearray\nh\x00\x85R" * 100 + b".",
        "it copies the same data many times",
    ),
    "a shape of lists": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01]]a\x85cnumpy\ndtype\n(U\x02u1K\x00K\x01tR\x89U\x02\x07\xfftb.",
        "an array whose shape is not whole numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("whole", [True, False], ids=["load", "outline"])
def test_tiny_pickles_neither_hang_nor_crash(name, whole, tmp_path):
    data, reason = TINY[name]
    path = tmp_path / "evil.pkl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"evil.pkl': refused: .*({reason})" if whole else "evil.pkl'"):
        load(path, encoding="bytes") if whole else outline(path).read()


def test_what_is_shared_stays_shared():
    names = ("rgb", "audio")
    value = [{"names": names, "again": [names] * 50, "shape": (3, (4, 5))} for _ in range(2000)]
    found = load(pickle.dumps(value))
    assert found == value and found[0]["names"] is found[1999]["again"][49]
