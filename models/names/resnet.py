"""torchvision's names of the parameters of a ResNet. Its ImageNet weights can then be a backbone here."""

from collections.abc import Iterator

import numpy as np

from models.layers.named import NAMED
from models.layers.resnet import BLOCKS, block_names

TORCH = ("weight", "bias", "running_mean", "running_var")  # of a batch norm, in the order of NAMED
_MARK, _COUNTER = "layer1.0.conv1.weight", "num_batches_tracked"


def names(depth: int) -> dict[str, str]:
    """{torchvision's name: name here} of the convolutions and batch norms. The classifier is left out."""
    table = {}
    for theirs_conv, theirs_norm, conv, norm in _layers(depth):
        table[f"{theirs_conv}.weight"] = f"{conv}_weights"
        for theirs, ours in zip(TORCH, NAMED, strict=True):
            table[f"{theirs_norm}.{theirs}"] = f"{norm}_{ours}"
    return table


def translated(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{name: array} with the names used here, if they are torchvision's, perhaps behind a prefix (`module.`).

    Shapes agree, and both put a block's stride into its 3x3 convolution. PyTorch's batch counters are dropped.
    Other dictionaries are returned as they are.
    """
    marks = [name for name in arrays if name.endswith(_MARK)]
    if len(marks) != 1:
        return arrays
    prefix = marks[0].removesuffix(_MARK)
    depth = next(
        (depth for depth in sorted(BLOCKS, reverse=True) if all(f"{prefix}{name}" in arrays for name in names(depth))),
        None,
    )
    if depth is None:
        return arrays
    table = names(depth)
    return {
        table.get(name.removeprefix(prefix), name): array
        for name, array in arrays.items()
        if not name.endswith(_COUNTER)
    }


def _layers(depth: int) -> Iterator[tuple[str, str, str, str]]:
    """(torchvision's convolution, its batch norm, convolution here, batch norm here)."""
    yield "conv1", "bn1", "conv1", "bn_conv1"
    for stage, blocks in enumerate(block_names(depth), start=1):
        for i, name in enumerate(blocks):
            path = f"layer{stage}.{i}"
            for number, branch in enumerate(("2a", "2b", "2c"), start=1):
                yield (
                    f"{path}.conv{number}",
                    f"{path}.bn{number}",
                    f"res{name}_branch{branch}",
                    f"bn{name}_branch{branch}",
                )
            if i == 0:
                yield f"{path}.downsample.0", f"{path}.downsample.1", f"res{name}_branch1", f"bn{name}_branch1"
