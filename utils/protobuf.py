"""Messages of protobuf's own runtime, declared here in Python: no file is generated, no compiler is needed.

    Point, = messages("zoo.example", {"Point": {1: "int64 x", 2: "repeated int64 sizes", 3: "packed int64 more"}})
    Point.FromString(data).x

A type is "bytes", "float", "int64" or the name of another message. A field that only passes on another message may be
declared as bytes: both are written alike. What is not declared is skipped; `DecodeError` says that data is damaged.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

__all__ = ["DecodeError", "messages"]

Field = descriptor_pb2.FieldDescriptorProto
TYPES = {"bytes": Field.TYPE_BYTES, "float": Field.TYPE_FLOAT, "int64": Field.TYPE_INT64}


def messages(package: str, declared: dict[str, dict[int, str]]) -> list[type[Message]]:
    """The classes of the messages {name: {number: "[repeated|packed] type field"}}, in their order."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto2")
    for name, fields in declared.items():
        message = file.message_type.add(name=name)
        for number, text in fields.items():
            *label, kind, field = text.split()
            added = message.field.add(name=field, number=number, type=TYPES.get(kind, Field.TYPE_MESSAGE))
            added.label = Field.LABEL_REPEATED if label else Field.LABEL_OPTIONAL
            if kind not in TYPES:
                added.type_name = f".{package}.{kind}"
            if label == ["packed"]:
                added.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in declared]
