"""PyTorch files from before 1.6 are read without PyTorch: pickles, then raw numbers."""

import pickle
import struct

import numpy as np
import pytest

from engine.weights import formats
from engine.weights.torch import MAGIC, VERSION
from support.torch_pickles import NUMBERS, call, mapping, value
from utils.errors import WeightsError

SYSTEM = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def tensor(sizes, strides, offset=0, key="1", count=24, kind="FloatStorage", view=None):
    """As in the zip form, but a storage has a sixth part: whether it is a view on another one."""
    storage = b"(" + value("storage") + f"ctorch\n{kind}\n".encode() + value(key) + value("cpu") + value(count)
    parts = (value(offset), value(sizes), value(strides), value(False), call("collections.OrderedDict"))
    return call("torch._utils._rebuild_tensor_v2", storage + value(view) + b"tQ", *parts)


def legacy(path, tree, keys=("1",), system=SYSTEM, version=VERSION, **storages):
    storages = {"1": NUMBERS, **storages}
    with open(path, "wb") as file:
        for thing in (MAGIC, version, system):
            file.write(pickle.dumps(thing, protocol=2))
        file.write(b"\x80\x02" + tree + b"." + pickle.dumps(list(keys), protocol=2))
        for key in keys:
            file.write(struct.pack("<q", len(storages[key])) + storages[key].tobytes())
    return path


def test_strides_are_followed(tmp_path):
    """Released EfficientNet weights are stored with strides in another order; ignoring them gives wrong values."""
    tree = mapping(
        {
            "whole": tensor((2, 3, 4), (12, 4, 1)),
            "channels last": tensor((2, 4, 3), (12, 1, 4)),
            "slice": tensor((2, 3), (8, 2), offset=5),
            "half": tensor((2,), (1,), key="2", count=2, kind="HalfStorage"),
            "epoch": value(7),
        }
    )
    arrays, skipped = formats.read(legacy(tmp_path / "w.pth", tree, ("1", "2"), **{"2": np.array([1.5, -2], "<f2")}))
    assert skipped == ["epoch"]
    assert np.array_equal(arrays["whole"], NUMBERS.reshape(2, 3, 4))
    assert np.array_equal(arrays["channels last"], NUMBERS.reshape(2, 3, 4).transpose(0, 2, 1))
    assert arrays["slice"].tolist() == [[5, 7, 9], [13, 15, 17]] and arrays["half"].tolist() == [1.5, -2]


def test_wrapped_and_bfloat16(tmp_path):
    bits = np.array([0x3F80, 0xC000], "<u2")
    state = mapping({"module.w": tensor((2,), (1,), count=2, kind="BFloat16Storage")}, call("collections.OrderedDict"))
    arrays, _ = formats.read(legacy(tmp_path / "w.pth", mapping({"state_dict": state}), **{"1": bits}))
    assert arrays["w"].tolist() == [1.0, -2.0] and arrays["w"].dtype == np.float32


@pytest.mark.parametrize(
    "bad, reason",
    [
        (tensor((25,), (1,)), "a tensor of sizes"),
        (tensor((2,), (-1,), offset=3), "a tensor of sizes"),
        (tensor((2,), (1,), count=25), "the storage '1' holds 24 numbers, its tensor expects 25"),
        (tensor((2,), (1,), kind="DoubleStorage"), "cut short: 192 bytes wanted, 96 left"),
        (tensor((2,), (1,), key="9"), "the storage '1' holds 24 numbers, its tensor expects -1"),
        (tensor((2,), (1,), view=("1", 0, 2)), "is a view"),
        (tensor((2,), (1,), kind="QInt8Storage"), "refused: it asks for 'torch.QInt8Storage'"),
        (call("os.system", value("true")), "refused: it asks for 'os.system'"),
    ],
)
def test_lies_and_foreign_objects(tmp_path, bad, reason):
    with pytest.raises(WeightsError, match=f"w.pth'.*{reason}"):
        formats.read(legacy(tmp_path / "w.pth", mapping({"w": bad})))


def test_damaged_files(tmp_path):
    good = mapping({"w": tensor((2,), (1,))})
    with pytest.raises(WeightsError, match="big-endian"):
        formats.read(legacy(tmp_path / "w.pth", good, system={"little_endian": False}))
    with pytest.raises(WeightsError, match="unknown version '1002'"):
        formats.read(legacy(tmp_path / "w.pth", good, version=1002))
    with pytest.raises(WeightsError, match="its tensors need the storage '1'"):
        formats.read(legacy(tmp_path / "w.pth", good, keys=()))
    whole = legacy(tmp_path / "w.pth", good).read_bytes()
    for length in (len(whole) - 1, len(whole) - 100, 60, 20):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="cut.pth'"):
            formats.read(tmp_path / "cut.pth")
