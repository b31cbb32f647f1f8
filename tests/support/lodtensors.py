"""Write LoDTensor files, as Paddle 1.x did (engine/weights/lodtensor.py describes and reads them)."""

import struct

import numpy as np

from engine.weights.lodtensor import BFLOAT16, TYPES, Description

CODES = {np.dtype(name): code for code, name in TYPES.items() if code != BFLOAT16}


def write_directory(path, arrays):
    """Write {name: array} as one file per variable into the new folder `path`."""
    path.mkdir()
    for name, array in arrays.items():
        (path / name).write_bytes(record(array))


def write_combined(path, arrays):
    """Write {name: array} as one combined file, sorted by name."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(record(arrays[name]) for name in sorted(arrays, key=str.encode)))


def record(array):
    """The bytes of one array."""
    array = np.asarray(array)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    description = Description(data_type=CODES[little.dtype], dims=little.shape).SerializeToString()
    return struct.pack("<IQIi", 0, 0, 0, len(description)) + description + little.tobytes()
