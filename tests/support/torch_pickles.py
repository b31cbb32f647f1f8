"""PyTorch's pickles, put together instruction by instruction: no PyTorch is needed to write them."""

import pickle

import numpy as np

NUMBERS = np.arange(24, dtype=np.float32)


def value(thing):
    """The instructions that push a plain value: its pickle without head and tail."""
    return pickle.dumps(thing, protocol=2)[2:-1]


def call(name, *args):
    module, function = name.rsplit(".", 1)
    return f"c{module}\n{function}\n(".encode() + b"".join(args) + b"tR"


def tensor(sizes, strides, offset=0, key="0", count=24, kind="FloatStorage"):
    storage = b"(" + value("storage") + f"ctorch\n{kind}\n".encode() + value(key) + value("cpu") + value(count) + b"tQ"
    return call(
        "torch._utils._rebuild_tensor_v2",
        storage,
        value(offset),
        value(sizes),
        value(strides),
        value(False),
        call("collections.OrderedDict"),
    )


def mapping(entries, start=b"}"):
    return start + b"(" + b"".join(value(name) + content for name, content in entries.items()) + b"u"
