"""MindSpore checkpoints (`.ckpt`) without MindSpore: protobuf records of named tensors.

    Checkpoint { repeated Value value = 1 }      Value { string tag = 1; Tensor tensor = 2 }
    Tensor { repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3 }
A tensor above 512 MiB is split into consecutive records with the same tag and the dimensions of the whole tensor. The
last 17 bytes of a file may be `crc_num` and the CRC-32 of all bytes before (MindSpore 2.0 to 2.10).
"""

import logging
import math
import zlib
from pathlib import Path

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from engine.weights.lodtensor import widen_bfloat16
from utils.errors import WeightsError

log = logging.getLogger("zoo")

ENCRYPTED = {b"\xd8\x5e\x3a\x7f": "AES-GCM", b"\xd9\x5e\x3a\x7f": "AES-CBC"}
LARGEST = (2 << 30) - 1  # bytes that protobuf reads as one message
CRC_MARK, CRC_SIZE = b"crc_num", 17
BFLOAT16 = "BFloat16"
TYPES = {
    "Float16": "<f2",
    "Float32": "<f4",
    "Float64": "<f8",
    BFLOAT16: "<u2",
    "Bool": "|b1",
    "Int8": "|i1",
    "UInt8": "|u1",
    "Int16": "<i2",
    "UInt16": "<u2",
    "Int32": "<i4",
    "UInt32": "<u4",
    "Int64": "<i8",
    "UInt64": "<u8",
}
OPTIMIZER = ("moments.", "moment1.", "moment2.", "accum.")  # prefixes of the optimizers' tensors
COUNTERS = ("momentum", "learning_rate", "global_step")


def _message_class():
    """The class of `Checkpoint`, described here as MindSpore's own schema describes it."""
    field = descriptor_pb2.FieldDescriptorProto
    schema = descriptor_pb2.FileDescriptorProto(name="zoo_mindspore_checkpoint.proto", package="zoo.mindspore")
    for name, fields in (
        (
            "Tensor",
            (("dims", field.TYPE_INT64, True), ("kind", field.TYPE_STRING, False), ("data", field.TYPE_BYTES, False)),
        ),
        ("Value", (("tag", field.TYPE_STRING, False), ("tensor", "Tensor", False))),
        ("Checkpoint", (("value", "Value", True),)),
    ):
        described = schema.message_type.add(name=name)
        for number, (label, kind, repeated) in enumerate(fields, 1):
            entry = described.field.add(name=label, number=number)
            entry.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            entry.type = field.TYPE_MESSAGE if isinstance(kind, str) else kind
            if isinstance(kind, str):
                entry.type_name = f".zoo.mindspore.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema)
    found = pool.FindMessageTypeByName("zoo.mindspore.Checkpoint")
    return message_factory.GetMessageClass(found)


def is_checkpoint(start: bytes) -> bool:
    """Whether a file with these first 16 bytes may be a MindSpore checkpoint: encrypted, or a record with a tag."""
    if bytes(start[:4]) in ENCRYPTED:
        return True
    if start[:1] != b"\n":
        return False
    length = next((i for i in range(1, min(len(start), 11)) if start[i] < 0x80), None)
    return length is not None and start[length + 1 : length + 2] == b"\n"


def read(path: str | Path) -> dict[str, np.ndarray]:
    """{name: array} of a checkpoint; what the optimizer and its counters hold is left out, with a line that counts it.

    Raises WeightsError, or OSError.
    """
    data = path.read_bytes()
    if data[:4] in ENCRYPTED:
        raise WeightsError(
            f"'{path}': encrypted by MindSpore ({ENCRYPTED[data[:4]]}); load it there with its key and save it without"
        )
    if len(data) > LARGEST:
        raise WeightsError(f"'{path}': {len(data)} bytes; MindSpore checkpoints of up to {LARGEST} bytes are read")
    try:
        records = _message_class().FromString(_checked(path, data)).value
    except message.DecodeError as error:
        raise WeightsError(f"'{path}': a damaged or incomplete MindSpore checkpoint; fetch it again") from error
    arrays = {tag: _array(path, tag, parts) for tag, parts in _by_tag(path, records).items()}
    kept = {tag: array for tag, array in arrays.items() if not (tag.startswith(OPTIMIZER) or tag in COUNTERS)}
    if len(kept) < len(arrays):
        log.info("'%s': %d tensors of the optimizer are left out", path, len(arrays) - len(kept))
    return kept


def _checked(path, data):
    """`data` without the checksum at its end. Raises WeightsError where it is another one."""
    if data[-CRC_SIZE : len(CRC_MARK) - CRC_SIZE] != CRC_MARK:
        return data
    content, wanted = data[:-CRC_SIZE], int.from_bytes(data[len(CRC_MARK) - CRC_SIZE :], "big")
    if zlib.crc32(content) != wanted:
        raise WeightsError(f"'{path}': damaged, its checksum is not the one at its end; fetch it again")
    return content


def _by_tag(path, records):
    """{tag: [tensor of each record]}. Raises WeightsError for a record without a tensor."""
    found = {}
    for record in records:
        if not record.HasField("tensor"):
            raise WeightsError(f"'{path}': '{record.tag}' holds no tensor (a table of an embedding?); save it without")
        found.setdefault(record.tag, []).append(record.tensor)
    return found


def _array(path, tag, parts):
    """The array of one tag. A scalar has the dimensions [0] (2.0) or none (2.10), and one element of data."""
    first = parts[0]
    if first.kind not in TYPES:
        raise WeightsError(f"'{path}': '{tag}' is of the type '{first.kind}'; known types: {', '.join(TYPES)}")
    dtype = np.dtype(TYPES[first.kind])
    data = b"".join(part.data for part in parts)
    shape = tuple(first.dims)
    if shape == (0,) and len(data) == dtype.itemsize:
        shape = ()
    same = all(part.kind == first.kind and tuple(part.dims) == tuple(first.dims) for part in parts)
    if not same or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise WeightsError(
            f"'{path}': '{tag}' says {first.kind} {list(shape)} and holds {len(data)} bytes; fetch the file again"
        )
    array = np.frombuffer(data, dtype).reshape(shape)
    return widen_bfloat16(array) if first.kind == BFLOAT16 else array
