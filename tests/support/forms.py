"""Weights of a model, written in every form that this zoo reads."""

import tarfile
import zlib

import numpy as np

from engine.weights import formats
from support import lodtensors

FORMS = ("directory", "combined", ".pdparams", ".npz", ".safetensors", ".tar.gz")


def values(shapes, dtype=np.float32):
    """{name: array} of values that a swap of two tensors would show, quickly made and well compressed."""
    return {
        name: np.resize(np.random.default_rng(zlib.crc32(name.encode())).random(997, np.float32).astype(dtype), shape)
        for name, shape in shapes.items()
    }


def write(folder, form, arrays):
    """The path of `arrays` in a form of FORMS."""
    path = folder / f"weights{form if form.startswith('.') else ''}"
    if form == "directory":
        lodtensors.write_directory(path, arrays)
    elif form == "combined":
        lodtensors.write_combined(path, arrays)
    elif form == ".tar.gz":
        lodtensors.write_directory(folder / "packed", arrays)
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            archive.add(folder / "packed", "released")
    else:
        formats.save(path, arrays)
    return path
