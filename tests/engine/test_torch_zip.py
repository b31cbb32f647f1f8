"""PyTorch checkpoints are read without PyTorch. The files are put together here, instruction by instruction."""

import zipfile

import numpy as np
import pytest

from engine.weights import formats
from support.torch_pickles import NUMBERS, call, mapping, tensor, value
from utils.errors import WeightsError


def checkpoint(path, tree, byteorder=b"little", **storages):
    storages = {"0": NUMBERS, **storages}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + tree + b".")
        archive.writestr("archive/byteorder", byteorder)
        for key, numbers in storages.items():
            archive.writestr(f"archive/data/{key}", numbers.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


def test_sizes_strides_and_offsets(tmp_path):
    arrays, skipped = formats.read(
        checkpoint(
            tmp_path / "w.pth",
            mapping(
                {
                    "whole": tensor((2, 3, 4), (12, 4, 1)),
                    "transposed": tensor((4, 3), (1, 4)),
                    "slice": tensor((2, 3), (8, 2), offset=5),
                    "scalar": tensor((), (), offset=23),
                    "empty": tensor((0, 3), (3, 1)),
                    "epoch": value(7),
                    "parameter": call(
                        "torch._utils._rebuild_parameter",
                        tensor((2,), (1,)),
                        value(True),
                        call("collections.OrderedDict"),
                    ),
                }
            ),
        )
    )
    assert skipped == ["epoch"]
    assert np.array_equal(arrays["whole"], NUMBERS.reshape(2, 3, 4))
    assert np.array_equal(arrays["transposed"], NUMBERS[:12].reshape(3, 4).T)
    assert arrays["slice"].tolist() == [[5, 7, 9], [13, 15, 17]]
    assert arrays["scalar"].shape == () and arrays["scalar"] == 23
    assert arrays["empty"].shape == (0, 3) and arrays["parameter"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "kind, numbers, wanted",
    [
        ("DoubleStorage", np.array([1.5, -2], "<f8"), [1.5, -2]),
        ("HalfStorage", np.array([1.5, -2], "<f2"), [1.5, -2]),
        ("BFloat16Storage", np.array([0x3F80, 0xC000], "<u2"), [1.0, -2.0]),
        ("LongStorage", np.array([1 << 40, -1]), [1 << 40, -1]),
        ("ByteStorage", np.array([0, 255], "u1"), [0, 255]),
        ("BoolStorage", np.array([True, False]), [True, False]),
    ],
)
def test_types(tmp_path, kind, numbers, wanted):
    path = checkpoint(
        tmp_path / "w.pth", mapping({"w": tensor((2,), (1,), key="1", count=2, kind=kind)}), **{"1": numbers}
    )
    found = formats.read(path).arrays["w"]
    assert found.tolist() == wanted and found.dtype == (np.float32 if kind == "BFloat16Storage" else numbers.dtype)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_what_training_scripts_wrap_around(tmp_path, key):
    state = (
        mapping({"module.fc.weight": tensor((3,), (1,))}, call("collections.OrderedDict"))
        + value({"_metadata": {}})
        + b"b"
    )
    tree = mapping({key: state, "optimizer": mapping({"momentum": tensor((3,), (1,))}), "epoch": value(3)})
    assert list(formats.read(checkpoint(tmp_path / "w.pth", tree)).arrays) == ["fc.weight"]


@pytest.mark.parametrize(
    "bad, reason",
    [
        (tensor((25,), (1,)), "a tensor of sizes"),
        (tensor((2,), (24,)), "a tensor of sizes"),
        (tensor((2,), (1,), offset=23), "a tensor of"),
        (tensor((-1,), (1,)), "a tensor of sizes"),
        (tensor((2,), (-1,), offset=3), "a tensor of sizes"),
        (tensor((1 << 60,), (0,)), "a tensor of sizes"),
        (tensor((2,), (1, 1)), "not a readable pickle"),
        (tensor((2,), (1,), offset=-1), "a tensor of sizes"),
        (tensor((2,), (1,), count=25), "the storage '0' holds 24 numbers, its tensor expects 25"),
        (tensor((2,), (1,), kind="DoubleStorage"), "holds 12 numbers"),
        (tensor((2,), (1,), key="9"), "without the storage '9'"),
        (tensor((2,), (1,), kind="QInt8Storage"), "refused: it asks for 'torch.QInt8Storage'"),
        (call("os.system", value("true")), "refused: it asks for 'os.system'"),
        (call("torch.nn.modules.linear.Linear"), "refused: it asks for 'torch.nn.modules.linear.Linear'"),
    ],
)
def test_lies_and_foreign_objects(tmp_path, bad, reason):
    with pytest.raises(WeightsError, match=f"w.pth'.*{reason}"):
        formats.read(checkpoint(tmp_path / "w.pth", mapping({"w": bad})))


def test_other_things_that_are_no_state_dict(tmp_path):
    with pytest.raises(WeightsError, match="holds a 'ndarray'; expected a state dict"):
        formats.read(checkpoint(tmp_path / "w.pth", tensor((2,), (1,))))
    with pytest.raises(WeightsError, match="big-endian"):
        formats.read(checkpoint(tmp_path / "w.pth", mapping({}), byteorder=b"big"))
    data = bytearray(checkpoint(tmp_path / "w.pth", mapping({"w": tensor((2,), (1,))})).read_bytes())
    data[data.index(NUMBERS.tobytes())] ^= 1
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(WeightsError, match="damaged PyTorch checkpoint .*CRC"):
        formats.read(tmp_path / "w.pth")
