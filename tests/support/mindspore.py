"""MindSpore's .ckpt files, put together byte by byte."""

from pathlib import Path


def varint(number):
    found = b""
    while number > 0x7F:
        found, number = found + bytes([number & 0x7F | 0x80]), number >> 7
    return found + bytes([number])


def field(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def record(tag, dims, kind, data):
    tensor = b"".join(b"\x08" + varint(size) for size in dims) + field(2, kind.encode()) + field(3, data)
    return field(1, field(1, tag.encode()) + field(2, tensor))


def write(path, arrays):
    """{name: float32 array} as a file of MindSpore."""
    Path(path).write_bytes(b"".join(record(name, a.shape, "Float32", a.tobytes()) for name, a in arrays.items()))
