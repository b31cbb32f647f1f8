"""LoDTensor records: byte for byte what Paddle 1.8.5 wrote, and no belief in what a damaged header claims."""

import struct

import numpy as np
import pytest

from engine.weights import formats, lodtensor
from support import goldens, lodtensors
from utils.errors import WeightsError

SAMPLES = goldens.FULL / "fluid_checkpoints"  # five variables of StNet: a directory, a combined file, a pickle
real = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the files written by Paddle 1.8.5 are not beside this checkout")

ARRAYS = {
    "fc_0.w_0": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fc_0.b_0": np.arange(300, dtype=np.float64),
    "@LR_DECAY_COUNTER@": np.array([7]),
    "Z": np.array(True),
    "half": np.ones((2, 1, 3), np.float16),
    "bytes": np.arange(5, dtype=np.uint8),
}
SHAPES = {name: array.shape for name, array in ARRAYS.items()}


def record(code=5, sizes=(3,), data=b"\0" * 12, lod=b"\0" * 8, version=0):
    def varint(value):
        value %= 1 << 64
        return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)

    description = b"\x08" + varint(code) + b"".join(b"\x10" + varint(size) for size in sizes)
    return struct.pack("<I", version) + lod + struct.pack("<Ii", 0, len(description)) + description + data


def equal(found, wanted):
    return list(found) == list(wanted) and all(
        found[name].dtype == wanted[name].dtype and np.array_equal(found[name], wanted[name]) for name in wanted
    )


@real
def test_real_files_hold_the_rule_in_all_three_forms():
    rows = {row["name"]: row for row in goldens.table("STNET")}
    names = sorted(path.name for path in (SAMPLES / "save_vars_dir").iterdir())
    wanted = {name: goldens.make_parameter(name, rows[name]["shape"], rows[name]["role"]) for name in names}
    shapes = {name: rows[name]["shape"] for name in reversed(names)}
    for form in ("save_vars_dir", "save_vars_combined", "fluid_save.pdparams", "fluid_save"):
        arrays, skipped = formats.read(SAMPLES / form, shapes)
        assert equal(dict(sorted(arrays.items())), wanted) and skipped == [], form
    assert formats.read(SAMPLES / "fluid_save.pdopt") == ({}, [])


@real
def test_writing_gives_the_bytes_of_the_real_files(tmp_path):
    arrays = formats.read(SAMPLES / "fluid_save.pdparams").arrays
    lodtensors.write_combined(tmp_path / "combined", arrays)
    lodtensors.write_directory(tmp_path / "folder", arrays)
    assert (tmp_path / "combined").read_bytes() == (SAMPLES / "save_vars_combined").read_bytes()
    folders = [
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (tmp_path / "folder", SAMPLES / "save_vars_dir")
    ]
    assert folders[0] == folders[1]


def test_a_known_record(tmp_path):
    lodtensors.write_combined(tmp_path / "vector", {"v": np.zeros(5, np.float32)})
    assert (tmp_path / "vector").read_bytes() == bytes.fromhex(
        "00000000 0000000000000000 00000000 04000000 08051005"
    ) + b"\0" * 20


def test_combined_files_are_sorted_by_name_in_byte_order(tmp_path):
    lodtensors.write_combined(tmp_path / "all", ARRAYS)
    assert equal(lodtensor.read_combined(tmp_path / "all", SHAPES), {name: ARRAYS[name] for name in sorted(ARRAYS)})


def test_big_endian_and_strided_arrays_are_written_as_what_they_mean(tmp_path):
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    lodtensors.write_directory(tmp_path / "d", {"a": array})
    assert lodtensor.read_variable(tmp_path / "d" / "a").tolist() == array.tolist()


def test_an_optional_tensor_may_be_absent(tmp_path):
    without = {name: array for name, array in ARRAYS.items() if name != "half"}
    lodtensors.write_combined(tmp_path / "with", ARRAYS)
    lodtensors.write_combined(tmp_path / "without", without)
    assert set(lodtensor.read_combined(tmp_path / "with", SHAPES, optional=["half"])) == set(ARRAYS)
    assert set(lodtensor.read_combined(tmp_path / "without", SHAPES, optional=["half"])) == set(without)
    with pytest.raises(WeightsError, match="a combined file of 5 tensors, the model has 6"):
        lodtensor.read_combined(tmp_path / "without", SHAPES)


def test_a_combined_file_of_another_class_count_is_read_as_it_is(tmp_path):
    lodtensors.write_combined(
        tmp_path / "ten", {"fc.w": np.ones((4, 10)), "fc.b": np.ones(10), "conv": np.ones((2, 3))}
    )
    found = lodtensor.read_combined(tmp_path / "ten", {"fc.w": (4, 400), "fc.b": (400,), "conv": (2, 3)})
    assert {name: array.shape for name, array in found.items()} == {"conv": (2, 3), "fc.b": (10,), "fc.w": (4, 10)}


@pytest.mark.parametrize(
    "shapes",
    [
        {"fc.w": (4, 400), "fc.b": (200,), "conv": (2, 3)},
        {"fc.w": (4, 10), "fc.b": (10,), "conv": (3, 2)},
        {"fc.w": (4, 10), "fc.b": (10, 1), "conv": (2, 3)},
    ],
)
def test_a_combined_file_of_another_model_is_refused(tmp_path, shapes):
    lodtensors.write_combined(
        tmp_path / "ten", {"fc.w": np.ones((4, 10)), "fc.b": np.ones(10), "conv": np.ones((2, 3))}
    )
    with pytest.raises(WeightsError, match="combined file of another model or version: the tensor in the place of '"):
        lodtensor.read_combined(tmp_path / "ten", shapes)


def test_levels_of_detail_are_stepped_over_and_bfloat16_is_widened(tmp_path):
    lod = struct.pack("<QQQQ", 1, 16, 0, 3)
    (tmp_path / "v").write_bytes(record(22, (3,), np.array([0x3F80, 0xC000, 0x7F80], "<u2").tobytes(), lod))
    found = lodtensor.read_variable(tmp_path / "v")
    assert found.dtype == np.float32 and found.tolist() == [1.0, -2.0, float("inf")]


@pytest.mark.parametrize(
    "data, reason",
    [
        (record()[:-1], "cut short: 12 bytes wanted for the data of a tensor of shape .3., 11 left"),
        (record()[:17], "cut short"),
        (record() + b"\0", "1 bytes follow the tensor"),
        (record(sizes=(1 << 20, 1 << 20, 1 << 20)), "cut short: 4611686018427387904 bytes wanted"),
        (record(sizes=(1 << 62, 4)), "cut short"),
        (record(sizes=(-3, -1)), r"impossible shape \[-3, -1\]"),
        (record(sizes=(0, 1 << 62)), "impossible shape"),
        (record(sizes=(1,) * 9 + (3,)), "impossible shape"),
        (record(code=7), "unknown data type 7"),
        (record(version=1), "not a tensor of version 0"),
        (b"", "cut short: 12 bytes wanted, 0 left"),
        (b"a text", "cut short: 12 bytes wanted, 6 left"),
        (record(lod=struct.pack("<Q", 1 << 60)), "cut short|not a tensor"),
        (
            record(lod=struct.pack("<Q", 65) + bytes(8 * 65)),
            "not a tensor: 65 levels",
        ),  # ten million took half a minute
        (record(lod=struct.pack("<QQ", 1, 1 << 62)), "cut short: 4611686018427387904 bytes wanted, "),
        (b"\0" * 64, "unknown data type None"),
        (b"\0" * 16 + struct.pack("<i", -1), "description of -1 bytes"),
        (b"\0" * 16 + struct.pack("<i", 2) + b"\x08\xff", "damaged tensor description"),
        (b"\0" * 16 + struct.pack("<i", 2) + b"\x1a\x00", "unknown data type None"),
    ],
)
def test_lying_headers(tmp_path, data, reason):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "fc_0.w_0").write_bytes(data)
    with pytest.raises(WeightsError, match=f"fc_0.w_0': .*{reason}"):
        formats.read(folder, {"fc_0.w_0": (3,)})
