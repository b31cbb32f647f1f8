"""Outlines of pickles: the same object as a full read, with the long parts left in the file; damage is one sentence."""

import pickle
import tracemalloc

import numpy as np
import pytest

from utils.errors import DataError
from utils.pickles.lazy import StoredArray, Stretch, outline
from utils.pickles.safe import load

SHARED = np.arange(5000, dtype=np.int32)
BIG = np.arange(60000).astype(np.uint8).reshape(300, 200)
VALUE = [
    {
        b"video": b"ab",
        "nframes": np.int32(3),
        "label": [1, 2],
        "small": np.arange(3.0),
        "big": BIG,
        "text": "ü" * 3000,
        "columns": np.asfortranarray(np.arange(600).reshape(20, 30)),
        "bytes": bytes(range(256)) * 8,
        "again": SHARED,
    },
    {"again": SHARED, "none": None},
]


def filled(value):
    """An outline with everything fetched."""
    if isinstance(value, dict):
        return {key: filled(part) for key, part in value.items()}
    if isinstance(value, list):
        return [filled(part) for part in value]
    return value.read() if isinstance(value, StoredArray | Stretch) else value


def same(found, wanted):
    if isinstance(wanted, np.ndarray):
        return found.dtype == wanted.dtype and found.shape == wanted.shape and bool((found == wanted).all())
    if isinstance(wanted, dict):
        return list(found) == list(wanted) and all(same(found[key], wanted[key]) for key in wanted)
    return all(map(same, found, wanted)) if isinstance(wanted, list) else found == wanted


@pytest.mark.parametrize("protocol", range(6))
def test_fetched_it_is_what_a_full_read_gives(protocol, tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(VALUE, protocol))
    found = outline(path)
    assert isinstance(found[0]["big"], StoredArray) and found[0]["again"] is found[1]["again"]
    found, wanted = filled(found), load(path, encoding="bytes")
    found[0]["text"] = wanted[0]["text"]  # text is never fetched: it might be bytes, for all that one can see
    assert same(found, wanted)


def test_strings_of_python_2(tmp_path):
    """Counted byte strings (BINSTRING), which Python 3 does not write."""
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01M\xd0\x07\x85"
        b"cnumpy\ndtype\n"
        b"(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\xd0\x07\x00\x00"
        + b"\x07" * 2000
        + b"tb."
    )
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    assert (outline(path).read() == np.full(2000, 7, np.uint8)).all()


def test_long_data_costs_no_memory(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([np.full((300, 1024), i, np.uint8) for i in range(30)], 2))
    tracemalloc.start()
    found = outline(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert found[7].read()[299, 1023] == 7


def test_the_same_globals_are_refused(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02cos\nsystem\nU\x02ls\x85R.")
    with pytest.raises(DataError, match="refused: it asks for 'os.system'"):
        outline(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_every_truncation_is_an_error(protocol, tmp_path):
    path, data = tmp_path / "a.pkl", pickle.dumps([np.arange(5000, dtype=np.uint8), "end"], protocol)
    for length in [*range(200), *range(1500, 5000, 500), *range(len(data) - 60, len(data))]:
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match="a.pkl'"):
            outline(path)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_damage_is_never_another_exception(protocol, tmp_path):
    random, path = np.random.default_rng(protocol), tmp_path / "a.pkl"
    data = pickle.dumps([np.arange(1500).astype(np.uint8), {"label": [1, 2], "x": np.float32(2)}], protocol)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[random.integers(len(data))] = random.integers(256)
        path.write_bytes(damaged)
        try:
            filled(outline(path))
        except DataError:
            pass


def test_data_that_does_not_fit_the_declared_shape(tmp_path):
    path, data = tmp_path / "a.pkl", pickle.dumps(np.zeros((40, 50), np.uint8), 2)
    path.write_bytes(data.replace(b"K(K2\x86", b"K(K3\x86"))
    with pytest.raises(DataError, match=r"an array of shape \[40, 51\] and type uint8 with 2000 bytes"):
        outline(path).read()


def test_a_file_that_shrinks_after_the_outline(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(np.zeros(5000, np.uint8), 4))
    array = outline(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="a.pkl' is not a readable pickle"):
        array.read()
    path.unlink()
    with pytest.raises(DataError, match="a.pkl' cannot be read: No such file"):
        array.read()
