"""LoDTensor records: the binary form in which Paddle 1.x (and `save_vars` of later ones) stores variables.

A record, little-endian: uint32 version 0; uint64 number of LoD levels, each a uint64 length and that many bytes; uint32
version 0; int32 length of a protobuf {1: data type, 2: repeated dimension}; the data in row-major order.
A variable directory has one record per file. A combined file has all records in byte order of their names, but not the
names (old zoo v1.3 to v1.6; checked against files written by Paddle 1.8.5).
"""

import math
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from utils.errors import WeightsError
from utils.protobuf import DecodeError, messages

BFLOAT16 = 22
TYPES = {0: "|b1", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "|u1", 21: "|i1", BFLOAT16: "<u2"}
MAX_RANK = 9  # of Paddle's tensors
MAX_LEVELS = 64  # of detail: nested sequences; parameters have none
(Description,) = messages("zoo.lodtensor", {"Description": {1: "int64 data_type", 2: "repeated int64 dims"}})


def read_variable(path: str | Path) -> np.ndarray:
    """The array in a file that holds one record. Raises WeightsError, or OSError."""
    with open(path, "rb") as file:
        array = _read_record(file, path)
        extra = os.fstat(file.fileno()).st_size - file.tell()
    if extra:
        raise WeightsError(
            f"'{path}': {extra} bytes follow the tensor of shape {list(array.shape)}; "
            "a combined file has to be given itself, with the model's parameter names"
        )
    return array


def read_combined(path: str | Path, shapes: Mapping[str, tuple], optional: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """{name: array} of a combined file.

    shapes: {name: shape} of everything its writer may have stored; `optional` names may be absent, all together.
    The records must agree with the sorted shapes one by one. Sizes may differ in one number only, the same wherever it
    occurs: that is another class count, and the caller's to judge. Raises WeightsError, or OSError.
    """
    size, records = os.path.getsize(path), []
    with open(path, "rb") as file:
        while file.tell() < size:
            records.append(_read_record(file, path))
    names = sorted(shapes, key=str.encode)
    required = [name for name in names if name not in optional]
    fitting = next((some for some in (names, required) if len(some) == len(records)), None)
    if fitting is None:
        raise WeightsError(
            f"'{path}': a combined file of {len(records)} tensors, the model has {len(names)} parameters; "
            "give the file of this model, or its variable directory"
        )
    wrong = [
        (name, record.shape, tuple(shapes[name]))
        for name, record in zip(fitting, records, strict=True)
        if record.shape != tuple(shapes[name])
    ]
    if not _differ_in_one_number(wrong):
        name, found, wanted = wrong[0]
        raise WeightsError(
            f"'{path}': a combined file of another model or version: the tensor in the place of '{name}' has shape "
            f"{list(found)}, the model wants {list(wanted)}; {len(wrong)} of {len(records)} differ"
        )
    return dict(zip(fitting, records, strict=True))


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """uint16 bit patterns of bfloat16 -> the same numbers in float32, exactly."""
    return (bits.astype("<u4") << 16).view("<f4")


def _differ_in_one_number(wrong):
    """Whether shapes [(name, found, wanted)] become equal when one size is replaced by another."""
    pairs = {pair for _, found, wanted in wrong for pair in zip(found, wanted, strict=False) if pair[0] != pair[1]}
    return len(pairs) <= 1 and all(len(found) == len(wanted) for _, found, wanted in wrong)


def _read_record(file, path):
    """The array of the record at the position of an open file, whose size is checked before anything is allocated."""
    version, levels = struct.unpack("<IQ", _take(file, 12, path))
    if levels > MAX_LEVELS:
        raise WeightsError(f"'{path}': not a tensor: {levels} levels of detail, expected at most {MAX_LEVELS}")
    for _ in range(levels):
        (length,) = struct.unpack("<Q", _take(file, 8, path))
        _take(file, length, path)
    tensor_version, length = struct.unpack("<Ii", _take(file, 8, path))
    if version or tensor_version or length < 0:
        raise WeightsError(
            f"'{path}': not a tensor of version 0 (versions {version} and {tensor_version}, "
            f"description of {length} bytes)"
        )
    code, shape = _description(_take(file, length, path), path)
    if code not in TYPES:
        raise WeightsError(f"'{path}': a tensor of unknown data type {code}; known: {', '.join(map(str, TYPES))}")
    if len(shape) > MAX_RANK or min(shape, default=1) < 1:
        raise WeightsError(f"'{path}': a tensor of the impossible shape {shape}")
    dtype = np.dtype(TYPES[code])
    _check_left(file, math.prod(shape) * dtype.itemsize, path, f" for the data of a tensor of shape {shape}")
    array = np.empty(shape, dtype)
    file.readinto(array.reshape(-1).view(np.uint8))
    return widen_bfloat16(array) if code == BFLOAT16 else array


def _take(file, count, path):
    _check_left(file, count, path)
    return file.read(count)


def _check_left(file, count, path, purpose=""):
    left = os.fstat(file.fileno()).st_size - file.tell()
    if count > left:
        raise WeightsError(f"'{path}': damaged or cut short: {count} bytes wanted{purpose}, {left} left")


def _description(data, path):
    """(data type, shape) of an encoded Description; the type is None where there is none."""
    try:
        found = Description.FromString(data)
    except DecodeError as error:
        raise WeightsError(f"'{path}': a damaged tensor description") from error
    return found.data_type if found.HasField("data_type") else None, list(found.dims)
