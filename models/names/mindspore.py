"""Parameter names of MindSpore's StNet and ResNet-50 (mindspore-ai/models, research/cv/stnet)."""

from collections.abc import Iterable, Sequence

import numpy as np

from models.layers.named import NAMED, OLD_ZOO
from models.layers.resnet import block_names

PARTS = ("gamma", "beta", "moving_mean", "moving_variance")  # of a batch norm, in the order of NAMED and OLD_ZOO
XCEPTION = {"att_conv": "att_conv", "att_2": "att_2", "att_1": "att1", "att1_2": "att1_2", "dw": "dw"}
XCEPTION_NORMS = {"bn1": "xception_bn", "bn2": "xception_bndw", "bn3": "xception_bn2"}
DENSE = (
    "xception_att_conv.w_0",
    "xception_att1.w_0",
)  # grouped in Paddle's StNet and, from MindSpore 1.5 on, there too
_MARKS = ("layer1.0.down_sample_layer.0.weight", "bn1.moving_mean")


def is_theirs(names: Iterable[str]) -> bool:
    """Whether names are those of MindSpore's ResNet or StNet."""
    return any(mark in names for mark in _MARKS)


def is_stnet(names: Iterable[str]) -> bool:
    """Whether names are those of MindSpore's whole StNet."""
    return "xception.att_conv.weight" in names


def names(depth: int = 50, norms: Sequence[str] = ()) -> dict[str, str]:
    """{their name: name here}. `norms` are the two temporal batch norms. `fc.weight` (classifier) is transposed."""
    table = {}
    for conv, norm, ours_conv, ours_norm in _backbone(depth):
        table[f"{conv}.weight"] = f"{ours_conv}_weights"
        table |= {f"{norm}.{theirs}": f"{ours_norm}_{ours}" for theirs, ours in zip(PARTS, NAMED, strict=True)}
    for number, ours_norm in enumerate(norms):
        table |= _biased(f"temp{number + 1}.conv1", f"conv3d_{number}")
        table |= _counted(f"temp{number + 1}.bn1.bn2d", ours_norm)
    for theirs, ours in XCEPTION.items():
        table |= _biased(f"xception.{theirs}", f"xception_{ours}")
    for theirs, ours in XCEPTION_NORMS.items():
        table |= _counted(f"xception.{theirs}", ours)
    return table | _biased("fc", "fc_0")


def translated(arrays: dict[str, np.ndarray], depth: int = 50, norms: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """{name: array} with names and layout of this zoo, if `arrays` has MindSpore's names; else `arrays` unchanged."""
    if not is_theirs(arrays):
        return arrays
    table = names(depth, norms)
    found = {table.get(name, name): array for name, array in arrays.items()}
    if "fc.weight" in arrays:
        found["fc_0.w_0"] = arrays["fc.weight"].T
    for name in DENSE:
        if name in found and found[name].ndim == 4 and found[name].shape[1] == 1 < found[name].shape[0]:
            found[name] = _spread(found[name])
    return found


def _spread(weight):
    """A depthwise kernel [C, 1, ...] as the dense kernel [C, C, ...] that does the same."""
    channels = len(weight)
    dense = np.zeros((channels, channels, *weight.shape[2:]), weight.dtype)
    dense[range(channels), range(channels)] = weight[:, 0]
    return dense


def _biased(theirs, ours):
    return {f"{theirs}.weight": f"{ours}.w_0", f"{theirs}.bias": f"{ours}.b_0"}


def _counted(theirs, ours):
    return {f"{theirs}.{part}": f"{ours}.{suffix}" for part, suffix in zip(PARTS, OLD_ZOO, strict=True)}


def _backbone(depth):
    """(their convolution, their batch norm, convolution here, batch norm here) of the ResNet."""
    yield "conv1", "bn1", "conv1", "bn_conv1"
    for stage, blocks in enumerate(block_names(depth), start=1):
        for i, name in enumerate(blocks):
            path = f"layer{stage}.{i}"
            for number, branch in enumerate(("2a", "2b", "2c"), start=1):
                ours = f"{name}_branch{branch}"
                yield f"{path}.conv{number}", f"{path}.bn{number}", f"res{ours}", f"bn{ours}"
            if i == 0:
                projection = f"{path}.down_sample_layer"
                yield f"{projection}.0", f"{projection}.1", f"res{name}_branch1", f"bn{name}_branch1"
