"""Names of EfficientNet-Lite0's parameters in the released PyTorch weights (project efficientnet_pytorch)."""

from collections.abc import Iterator

import numpy as np

from models.layers.efficientnet import blocks
from models.layers.named import NAMED
from models.names.resnet import TORCH

_MARK, _COUNTER = "_conv_stem.weight", "num_batches_tracked"


def names() -> dict[str, str]:
    """{name there: name here} of all convolutions and batch norms. The classifier is left out."""
    table = {}
    for theirs_conv, theirs_norm, ours in _layers():
        table[f"{theirs_conv}.weight"] = f"{ours}_weights"
        for theirs, part in zip(TORCH, NAMED, strict=True):
            table[f"{theirs_norm}.{theirs}"] = f"{ours}_bn_{part}"
    return table


def translated(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{name: array} with the names used here, if they are those of the released weights; others stay as they are."""
    if _MARK not in arrays:
        return arrays
    table = names()
    return {table.get(name, name): array for name, array in arrays.items() if not name.endswith(_COUNTER)}


def _layers() -> Iterator[tuple[str, str, str]]:
    """(their convolution, their batch norm, name here)."""
    yield "_conv_stem", "_bn0", "stem"
    for i, block in enumerate(blocks()):
        path = f"_blocks.{i}"
        if block.expansion > 1:
            yield f"{path}._expand_conv", f"{path}._bn0", f"block{i}_expand"
        yield f"{path}._depthwise_conv", f"{path}._bn1", f"block{i}_depthwise"
        yield f"{path}._project_conv", f"{path}._bn2", f"block{i}_project"
    yield "_conv_head", "_bn1", "top"
