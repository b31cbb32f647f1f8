"""torchvision's and paddle.vision's names of the parameters of a ResNet, so that their weights can be a backbone."""

from collections.abc import Iterator

import numpy as np

from models.layers.named import NAMED
from models.layers.resnet import BLOCKS, block_kernels, block_names
from utils.errors import WeightsError

TORCH = ("weight", "bias", "running_mean", "running_var")  # of a batch norm, in the order of NAMED
PADDLE = {"_mean": "running_mean", "_variance": "running_var"}  # where paddle.vision's names differ
_MARK, _COUNTER = "layer1.0.conv1.weight", "num_batches_tracked"
_PROJECTED = "res2a_branch1_weights"


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

    Shapes agree, and both put a block's stride into its first 3x3 convolution. PyTorch's batch counters are dropped.
    Other dictionaries are returned as they are. Raises WeightsError for PaddleClas's ResNet-18 and -34.
    """
    if _PROJECTED in arrays and arrays[_PROJECTED].shape[0] == 64:
        raise WeightsError(
            f"'{_PROJECTED}': PaddleClas's ResNet-18 and -34 project the shortcut of their first block, the network "
            "here does not; give torchvision's or paddle.vision's resnet18 or resnet34"
        )
    arrays = {_with_ending(name): array for name, array in arrays.items()}
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


def _with_ending(name: str) -> str:
    """`name` with torchvision's ending in place of paddle.vision's."""
    stem, dot, last = name.rpartition(".")
    return f"{stem}{dot}{PADDLE.get(last, last)}"


def _layers(depth: int) -> Iterator[tuple[str, str, str, str]]:
    """(torchvision's convolution, its batch norm, convolution here, batch norm here)."""
    yield "conv1", "bn1", "conv1", "bn_conv1"
    branches = ("2a", "2b", "2c")[: len(block_kernels(depth))]
    for stage, blocks in enumerate(block_names(depth), start=1):
        for i, name in enumerate(blocks):
            path = f"layer{stage}.{i}"
            for number, branch in enumerate(branches, start=1):
                yield (
                    f"{path}.conv{number}",
                    f"{path}.bn{number}",
                    f"res{name}_branch{branch}",
                    f"bn{name}_branch{branch}",
                )
            if i == 0 and (stage > 1 or depth >= 50):
                yield f"{path}.downsample.0", f"{path}.downsample.1", f"res{name}_branch1", f"bn{name}_branch1"
