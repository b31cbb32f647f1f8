"""PyTorch checkpoints (`torch.save`) without PyTorch: tensors and plain containers, nothing else.

Since PyTorch 1.6 a checkpoint is a zip archive. `<folder>/data.pkl` is the object; each tensor in it is a call with a
storage, an offset, sizes and strides. `<folder>/data/<key>` has the raw numbers of a storage.
`<folder>/byteorder` says their byte order.

Before 1.6 it was one file: pickles of a magic number, a version, system facts, the object and the list of storage keys;
then, for each key, an int64 count and the raw numbers.
"""

import io
import math
import pickle
import struct
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.weights.archives import BROKEN, check_size
from engine.weights.lodtensor import widen_bfloat16
from utils.errors import WeightsError
from utils.pickles import safe as unpickle

STORAGES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "|i1",
    "torch.ByteStorage": "|u1",
    "torch.BoolStorage": "|b1",
}
WRAPPERS = ("state_dict", "model")  # keys under which training scripts store the parameters beside their own state
MAGIC = 0x1950A86A20F9469CFC6C  # of files before 1.6
MAGIC_PICKLE = pickle.dumps(MAGIC, protocol=2)  # the first bytes of such a file
VERSION = 1001


def read(path: Path) -> dict[str, Any]:
    """{name: array or other value} of the state dict in a checkpoint, "module." prefixes removed. Arrays may be views.

    Raises WeightsError, or OSError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tree = _read_zip(path, archive)
    except BROKEN as error:
        raise WeightsError(f"'{path}': a damaged PyTorch checkpoint ({error}); fetch it again") from error
    return _state_dict(path, tree)


def read_legacy(path: Path) -> dict[str, Any]:
    """The same of a file written before PyTorch 1.6."""
    with open(path, "rb") as file:
        load = partial(unpickle.load, file, what=str(path), error=WeightsError)
        magic, version, system = load(), load(), load()
        if magic != MAGIC or version != VERSION or not isinstance(system, dict):
            raise WeightsError(
                f"'{path}': a PyTorch file of an unknown version '{version}'; save it again with PyTorch"
            )
        if not system.get("little_endian", True):
            raise WeightsError(f"'{path}': written on a big-endian machine; save it again on a little-endian one")
        start, wanted = file.tell(), {}

        def note(reference: tuple) -> None:
            _, kind, key, _, count, view = reference
            if view is not None or wanted.setdefault(key, (kind, count)) != (kind, count):
                raise ValueError(f"the storage '{key}' is a view, or has two sizes")

        # Twice: the numbers come last in the file, and the tensors are made of them.
        load(more_globals={**_GLOBALS, **dict.fromkeys(_REBUILD, _ignore)}, persistent_load=note)
        keys = load()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise WeightsError(
                f"'{path}': a damaged PyTorch file: its storage keys are no list of names; fetch it again"
            )
        storages = _read_storages(path, file, keys, wanted)
        for key in wanted:
            if key not in storages:
                raise WeightsError(
                    f"'{path}': its tensors need the storage '{key}', which is not there; fetch it again"
                )
        file.seek(start)
        return _state_dict(path, load(more_globals=_GLOBALS, persistent_load=lambda reference: storages[reference[2]]))


def _read_storages(path: Path, file: io.BufferedReader, keys: list[str], wanted: dict) -> dict[str, "_Storage"]:
    """{key: storage} of the raw numbers at the end of a legacy file. `wanted`: {key: (type, count)} of the tensors."""
    size, storages = path.stat().st_size, {}
    for key in keys:
        kind, count = wanted.get(key, (None, -1))
        (found,) = struct.unpack("<q", file.read(8).ljust(8, b"\0"))
        if kind not in STORAGES.values() or found != count:
            raise WeightsError(
                f"'{path}': the storage '{key}' holds {found} numbers, its tensor expects {count}; fetch the file again"
            )
        length = count * np.dtype(_BITS.get(kind, kind)).itemsize
        if length < 0 or length > size - file.tell():
            raise WeightsError(f"'{path}': cut short: {length} bytes wanted, {size - file.tell()} left; fetch it again")
        storages[key] = _Storage(_numbers(file.read(length), kind))
    return storages


def _state_dict(path: Path, tree: Any) -> dict[str, Any]:
    for key in WRAPPERS:
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
    if not isinstance(tree, dict):
        raise WeightsError(f"'{path}': a PyTorch file that holds a '{type(tree).__name__}'; expected a state dict")
    return {str(name).removeprefix("module."): value for name, value in tree.items()}


def _read_zip(path: Path, archive: zipfile.ZipFile) -> Any:
    check_size(path, archive)
    names = set(archive.namelist())
    root = next(name for name in sorted(names, key=len) if is_object(name)).removesuffix("data.pkl")
    if root + "byteorder" in names and archive.read(root + "byteorder") != b"little":
        raise WeightsError(
            f"'{path}': a PyTorch checkpoint in big-endian byte order; save it again on a little-endian machine"
        )
    storages = {}

    def storage(reference):
        """('storage', type, key, device, count) -> the numbers, read once however many tensors share them."""
        _, kind, key, _, count = reference
        member = f"{root}data/{key}"
        if kind not in STORAGES.values() or member not in names:
            raise WeightsError(
                f"'{path}': a PyTorch checkpoint without the storage '{key}' it refers to; fetch or save it again"
            )
        if member not in storages:
            storages[member] = _numbers(archive.read(member), kind)
        if len(storages[member]) != count:
            raise WeightsError(
                f"'{path}': the storage '{key}' holds {len(storages[member])} numbers, its tensor expects {count}"
            )
        return _Storage(storages[member])

    return unpickle.load(
        archive.read(root + "data.pkl"),
        what=str(path),
        error=WeightsError,
        more_globals=_GLOBALS,
        persistent_load=storage,
    )


def is_object(name: str) -> bool:
    """Whether a zip member is what makes the archive a PyTorch checkpoint."""
    return name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)


class _Storage:
    """Numbers that only `_rebuild_tensor` looks at: a pickle could give a bare array on its stack a new state."""

    def __init__(self, numbers):
        self.numbers = numbers


def _numbers(data: bytes, kind: str) -> np.ndarray:
    numbers = np.frombuffer(data, _BITS.get(kind, kind))
    return widen_bfloat16(numbers) if kind in _BITS else numbers


def _rebuild_tensor(storage, offset, sizes, strides, *_):
    """A view [sizes] on a storage, strides in numbers."""
    numbers = storage.numbers
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    if (
        min((offset, *sizes, *strides)) < 0
        or math.prod(sizes) > len(numbers)
        or (math.prod(sizes) and last >= len(numbers))
    ):
        raise ValueError(
            f"a tensor of sizes {sizes}, strides {strides}, offset {offset} on a storage of {len(numbers)} numbers"
        )
    if not math.prod(sizes):
        return np.empty(sizes, numbers.dtype)
    byte_strides = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], sizes, byte_strides, writeable=False)


def _rebuild_parameter(tensor, *_):
    return tensor


def _ignore(*_):
    return None


_BITS = {"bfloat16": "<u2"}
_REBUILD = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
}
_GLOBALS = {**STORAGES, **_REBUILD}
