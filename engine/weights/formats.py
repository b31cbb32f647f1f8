"""Weight files: detects the format by content, reads {name: array}, writes atomically. Does not use Paddle.

directory of variables      Paddle 1.x, old zoo v1.3 to v1.5                    engine/weights/lodtensor.py
combined file               all variables in one, old zoo v1.6                  engine/weights/lodtensor.py
pickle                      .pdparams, .pdopt from Paddle 1.7 to 3.x; Flax      engine/weights/pickles.py
.npz, .safetensors          numpy and everybody else                            here
PyTorch                     .pth and .pt                                        engine/weights/torch.py
MindSpore checkpoint        .ckpt                                               engine/weights/mindspore.py
tar or zip of one of these  as downloaded                                       engine/weights/archives.py
"""

import pickle
import struct
import tokenize
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from engine.weights import archives, lodtensor, mindspore, pickles
from engine.weights import torch as torch_files
from storage.files import replacing
from utils.errors import WeightsError

ACCEPTED = (
    "weights are a directory of variable files, a combined file, .pdparams or .pdopt, .npz, .safetensors, "
    "a .pth of PyTorch, a .ckpt of MindSpore, or a tar or zip of one of these"
)
ARCHIVES = ("zip", "tar")
SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}


class Weights(NamedTuple):
    """Content of a path: {name: array} (maybe read-only views), and the names of the entries that are not arrays."""

    arrays: dict
    skipped: list


def read(
    path: str | Path, shapes: Mapping[str, tuple[int, ...]] | None = None, optional: Sequence[str] = ()
) -> Weights:
    """The `Weights` at `path`, in any accepted form; a path without its ending .pdparams is completed.

    shapes: {name: shape} of the model; only a combined file needs it, having no names of its own
    optional: names of `shapes` that the writer of a combined file may not have had (NEXTVLAD's eigen_param)
    Neither makes anything else fail: what is missing or of another shape is the caller's to judge. Raises WeightsError.
    """
    try:
        return _read(found(path), shapes, optional)
    except OSError as error:
        raise WeightsError(f"weights '{path}' cannot be read: {error}") from error


def found(path: str | Path) -> Path:
    """`path` if it exists, else with the ending .pdparams. Raises WeightsError."""
    for candidate in (Path(path), Path(f"{path}.pdparams")):
        if candidate.exists():
            return candidate
    raise WeightsError(f"weights '{path}' do not exist, nor does '{candidate}'; {ACCEPTED}")


def names_in(path: str | Path) -> set[str]:
    """The tensor names in a MindSpore checkpoint. None for other forms: no setting depends on their names."""
    return set(mindspore.read(Path(path))) if _kind(Path(path)) == "MindSpore" else set()


def save(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write {name: array} in the format of the extension of `path`.

    Formats: .pdparams or .pdopt (for `paddle.load`), .npz, .safetensors. Raises WeightsError.
    """
    write = _WRITERS.get(Path(path).suffix)
    if write is None:
        raise WeightsError(
            f"'{path}': weights are written as {', '.join(_WRITERS)}; give the path one of these endings"
        )
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise WeightsError(
                f"'{name}' of type {array.dtype} cannot be saved in '{path}': expected an array of numbers"
            )
    try:
        with replacing(path) as beside, open(beside, "wb") as file:
            write(arrays, file)
    except OSError as error:
        raise WeightsError(f"'{path}' cannot be written: {error}") from error


def _read(path, shapes, optional, unpacked=False):
    """`unpacked` says that the path came out of an archive: archives in archives are refused."""
    if path.is_dir():
        return _read_folder(path, shapes, optional, unpacked)
    kind = _kind(path)
    if kind in ARCHIVES and not unpacked:
        with archives.unpacked(path) as folder:
            try:
                return _read_folder(folder, shapes, optional, unpacked=True)
            except WeightsError as error:  # name the member as if the archive were a folder
                raise WeightsError(str(error).replace(str(folder), str(path))) from error
    if kind == "tensors":
        if not shapes:
            raise WeightsError(
                f"'{path}': a combined file holds no names; it can only be read for a model, with its parameter names"
            )
        return Weights(lodtensor.read_combined(path, shapes, optional), [])
    if kind not in _READERS:
        raise WeightsError(f"'{path}': {_description(path, kind)}; {ACCEPTED}")
    return _arrays_in(_READERS[kind](path))


def _kind(path):
    """What a file is, by its content: a key of `_READERS`, one of ARCHIVES, "tensors", or None."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        start = file.read(16)
    if len(start) > 8 and start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] <= path.stat().st_size:
        return "safetensors"
    if start.startswith(b"\0\0\0\0"):
        return "tensors"
    if start.startswith(torch_files.MAGIC_PICKLE):
        return "old PyTorch"
    if start.startswith(b"\x80"):
        return "pickle"
    if mindspore.is_checkpoint(start):
        return "MindSpore"
    if archives.is_zip(path):
        return _zip_kind(path)
    return "tar" if archives.is_tar(path) else None


def _zip_kind(path):
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except archives.BROKEN as error:
        raise WeightsError(f"'{path}': a damaged or incomplete zip file ({error}); fetch it again") from error
    if any(map(torch_files.is_object, names)):
        return "PyTorch"
    return "npz" if all(name.endswith(".npy") for name in names) else "zip"


def _description(path, kind):
    if not path.is_file():
        return "neither a file nor a folder"
    if kind in ARCHIVES:
        return "an archive inside an archive; unpack the outer one"
    return f"a file of {path.stat().st_size} bytes in no known form"


def _read_folder(path, shapes, optional, unpacked):
    """A variable directory; else the one weight file or folder inside; files that are neither are skipped by name."""
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX")
    kinds = {entry: "folder" if entry.is_dir() else _kind(entry) for entry in entries}
    tensors = [entry for entry in entries if kinds[entry] == "tensors" or entry.name in (shapes or ())]
    combined = len(tensors) == 1 and shapes and tensors[0].name not in shapes
    if tensors and not combined:
        arrays = {entry.name: lodtensor.read_variable(entry) for entry in tensors}
        return Weights(arrays, [entry.name for entry in entries if entry not in tensors])
    inside = (
        tensors
        or [entry for entry in entries if entry.suffix == ".pdparams"]
        or [entry for entry in entries if kinds[entry]]
    )
    if len(inside) != 1:
        held = ", ".join(entry.name for entry in (inside or entries)[:6]) or "nothing"
        count = "several" if inside else "no"
        raise WeightsError(f"'{path}': a folder or archive with {count} weights in it ({held}); {ACCEPTED}")
    arrays, skipped = _read(inside[0], shapes, optional, unpacked)
    return Weights(arrays, skipped + [entry.name for entry in entries if entry != inside[0]])


def _arrays_in(tree):
    arrays = {str(name): value for name, value in tree.items() if isinstance(value, np.ndarray)}
    return Weights(arrays, [str(name) for name, value in tree.items() if not isinstance(value, np.ndarray)])


def _read_npz(path):
    try:
        with zipfile.ZipFile(path) as archive:
            archives.check_size(path, archive)
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (
        *archives.BROKEN,
        tokenize.TokenError,
        SyntaxError,
        TypeError,
    ) as error:  # numpy parses headers as Python literals
        raise WeightsError(
            f"'{path}': a damaged .npz, or one with Python objects ({error}); save it with arrays of numbers"
        ) from error


def _read_safetensors(path):
    try:
        tensors = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise WeightsError(f"'{path}': a damaged .safetensors file ({error}); fetch it again") from error
    unknown = [f"'{name}' is {tensor['dtype']}" for name, tensor in tensors if tensor["dtype"] not in SAFETENSORS_TYPES]
    if unknown:
        raise WeightsError(f"'{path}': {unknown[0]}; known types: {', '.join(SAFETENSORS_TYPES)}")
    return {name: _from_safetensors(**tensor) for name, tensor in tensors}


def _from_safetensors(dtype, shape, data):
    array = np.frombuffer(data, SAFETENSORS_TYPES[dtype]).reshape(shape)
    return lodtensor.widen_bfloat16(array) if dtype == "BF16" else array


_READERS = {
    "pickle": pickles.read,
    "npz": _read_npz,
    "safetensors": _read_safetensors,
    "PyTorch": torch_files.read,
    "old PyTorch": torch_files.read_legacy,
    "MindSpore": mindspore.read,
}

_WRITERS = {
    ".pdparams": lambda arrays, file: pickle.dump(arrays, file, protocol=4),
    ".pdopt": lambda arrays, file: pickle.dump(arrays, file, protocol=4),
    ".npz": lambda arrays, file: np.savez(file, **arrays),
    ".safetensors": lambda arrays, file: file.write(safetensors.numpy.save(arrays)),
}
