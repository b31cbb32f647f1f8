"""MindSpore's .ckpt files are read without MindSpore. The records are put together here, byte by byte."""

import zlib

import numpy as np
import pytest

from engine.weights import formats
from support.mindspore import field, record
from utils.errors import WeightsError

NUMBERS = np.arange(6, dtype=np.float32)


def read(path, content):
    path.write_bytes(content)
    return formats.read(path).arrays


def test_tensors_scalars_and_types(tmp_path):
    content = record("a", (2, 3), "Float32", NUMBERS.tobytes())
    content += record("new scalar", (), "Int32", b"\x05\0\0\0") + record("old scalar", (0,), "Int64", b"\7" + b"\0" * 7)
    content += record("half", (2,), "BFloat16", b"\x80\x3f\x00\xc0") + record("empty", (0, 4), "Float16", b"")
    found = read(tmp_path / "w.ckpt", content)
    np.testing.assert_array_equal(found["a"], NUMBERS.reshape(2, 3))
    assert found["new scalar"].shape == () and found["new scalar"] == 5 and found["old scalar"] == 7
    assert found["half"].tolist() == [1.0, -2.0] and found["empty"].shape == (0, 4)


def test_a_tensor_in_several_records(tmp_path):
    parts = [record("a", (2, 3), "Float32", NUMBERS[cut].tobytes()) for cut in (slice(0, 4), slice(4, 6))]
    np.testing.assert_array_equal(read(tmp_path / "w.ckpt", b"".join(parts))["a"], NUMBERS.reshape(2, 3))


def test_the_optimizers_tensors_are_left_out(tmp_path):
    names = ("conv1.weight", "moments.conv1.weight", "momentum", "learning_rate", "global_step")
    content = b"".join(record(name, (6,), "Float32", NUMBERS.tobytes()) for name in names)
    assert set(read(tmp_path / "w.ckpt", content)) == {"conv1.weight"}


def test_the_checksum_is_checked_where_there_is_one(tmp_path):
    content = record("a", (6,), "Float32", NUMBERS.tobytes())
    sealed = content + b"crc_num" + zlib.crc32(content).to_bytes(10, "big")
    assert set(read(tmp_path / "w.ckpt", sealed)) == {"a"}
    with pytest.raises(WeightsError, match="its checksum is not the one"):
        read(tmp_path / "w.ckpt", sealed.replace(b"\0\0\x80\x3f", b"\0\0\x80\x3e"))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\xd8\x5e\x3a\x7f" + b"x" * 40, "encrypted by MindSpore .AES-GCM."),
        (record("a", (6,), "Float32", NUMBERS.tobytes())[:-3], "damaged or incomplete MindSpore checkpoint"),
        (record("a", (7,), "Float32", NUMBERS.tobytes()), r"'a' says Float32 \[7\] and holds 24 bytes"),
        (record("a", (6,), "str", NUMBERS.tobytes()), "'a' is of the type 'str'"),
        (field(1, field(1, b"table")), "'table' holds no tensor"),
        (
            record("a", (6,), "Float32", b"1234") + record("a", (6,), "Int32", b"5" * 20),
            r"'a' says Float32 \[6\] and holds 24 bytes",
        ),
        (record("a", (2**62, 2**62), "Float32", b"1234"), "'a' says Float32"),
        (record("a", (2**64 - 1,), "Float32", b""), "'a' says Float32 .-1. and holds 0 bytes"),
    ],
    ids=["encrypted", "cut", "too short", "text", "map", "mixed", "huge", "negative"],
)
def test_damaged_and_strange_files(tmp_path, content, message):
    with pytest.raises(WeightsError, match=message):
        read(tmp_path / "w.ckpt", content)
