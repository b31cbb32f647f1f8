"""PyTorch checkpoints (`torch.save` of 1.6 and later) without PyTorch: tensors and plain containers, nothing else.

A zip archive: `<folder>/data.pkl` is the object, each tensor in it a call with a storage, an offset, sizes and strides;
`<folder>/data/<key>` holds the raw numbers of a storage; `<folder>/byteorder` says how they are laid out.
"""

import math
import zipfile

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


def read(path):
    """{name: array or other value} of the state dict in a checkpoint, "module." prefixes removed. Arrays may be views.

    Raises WeightsError, or OSError.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tree = _read_tree(path, archive)
    except BROKEN as error:
        raise WeightsError(f"'{path}': a damaged PyTorch checkpoint ({error}); fetch it again") from error
    for key in WRAPPERS:
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
    if not isinstance(tree, dict):
        raise WeightsError(f"'{path}': a PyTorch file that holds a '{type(tree).__name__}'; expected a state dict")
    return {str(name).removeprefix("module."): value for name, value in tree.items()}


def _read_tree(path, archive):
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


def is_object(name):
    """Whether a zip member is what makes the archive a PyTorch checkpoint."""
    return name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)


class _Storage:
    """Numbers that only `_rebuild_tensor` can look at: a bare array on the unpickler's stack could be given a new state."""

    def __init__(self, numbers):
        self.numbers = numbers


def _numbers(data, kind):
    return widen_bfloat16(np.frombuffer(data, "<u2")) if kind == "bfloat16" else np.frombuffer(data, kind)


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


_GLOBALS = {
    **STORAGES,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
}
