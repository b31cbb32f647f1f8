"""Names of TPN's parameters here, by its authors (torch) and in mmaction2. Weights of all three can be read."""

from collections.abc import Iterator

import numpy as np

from models.layers.named import NAMED
from models.layers.resnet import block_names
from models.names.resnet import TORCH


def names(depth: int = 50) -> dict[str, tuple[str, str, bool]]:
    """{name here: (authors' name, mmaction2's name, whether the matrix is transposed between them and here)}.

    `depth` is the ResNet's. Shapes agree, but for the classifiers: [in, out] here, [out, in] in torch.
    """
    table = {}
    for conv, norm, their_conv, their_norm, mmaction2 in _layers(depth):
        table[f"{conv}_weights"] = (f"{their_conv}.weight", f"{mmaction2}.conv.weight", False)
        if norm:
            for ours, theirs in zip(NAMED, TORCH, strict=True):
                table[f"{norm}_{ours}"] = (f"{their_norm}.{theirs}", f"{mmaction2}.bn.{theirs}", False)
    for ours, theirs, mmaction2 in (
        ("AuxHead_fc", "necks.aux_head.fc", "neck.aux_head.fc"),
        ("cls_head_fc", "cls_head.fc_cls", "cls_head.fc_cls"),
    ):
        table[f"{ours}_w"] = (f"{theirs}.weight", f"{mmaction2}.weight", True)
        table[f"{ours}_b"] = (f"{theirs}.bias", f"{mmaction2}.bias", False)
    return table


def translated(arrays: dict[str, np.ndarray], depth: int = 50) -> dict[str, np.ndarray]:
    """{name: array} with the names and layout used here, where they are the authors' or mmaction2's; others stay."""
    theirs = {name: (ours, transposed) for ours, (*spellings, transposed) in names(depth).items() for name in spellings}
    found = {}
    for name, array in arrays.items():
        ours, transposed = theirs.get(name, (name, False))
        found[ours] = array.T if transposed else array
    return found


def _layers(depth: int) -> Iterator[tuple[str, str | None, str, str | None, str]]:
    """(convolution here, its batch norm here or None, authors' convolution, authors' norm, mmaction2's)."""
    yield "conv1", "bn_conv1", "backbone.conv1", "backbone.bn1", "backbone.conv1"
    for stage, blocks in enumerate(block_names(depth), start=1):
        for i, name in enumerate(blocks):
            path = f"backbone.layer{stage}.{i}"
            for number, branch in enumerate(("2a", "2b", "2c"), start=1):
                conv = f"{path}.conv{number}"
                yield f"res{name}_branch{branch}", f"bn{name}_branch{branch}", conv, f"{path}.bn{number}", conv
            if i == 0:
                path = f"{path}.downsample"
                yield f"res{name}_branch1", f"bn{name}_branch1", f"{path}.0", f"{path}.1", path
    yield from _neck()


def _neck() -> Iterator[tuple[str, str | None, str, str | None, str]]:
    def unit(ours: str, conv: str, norm: str, mmaction2: str) -> tuple[str, str, str, str, str]:
        return ours, f"{ours}_bn", f"necks.{conv}", f"necks.{norm}", f"neck.{mmaction2}"

    space = "spatial_modulation.spatial_modulation.0.0"
    yield unit("SpatialModulation", f"{space}.conv", f"{space}.bn", space)
    for level in (0, 1):
        tempo = f"temporal_modulation_ops.{level}.conv"
        yield f"TemporalModulation{level}", None, f"necks.{tempo}", None, f"neck.{tempo}"
    yield "Downsamping", None, "necks.downsampling_ops.0.conv", None, "neck.downsample_ops.0.conv"
    for ours, authors, mmaction2 in (
        ("topdown", "level_fusion_op2", "level_fusion_1"),
        ("downtop", "level_fusion_op", "level_fusion_2"),
    ):
        for level, side in enumerate(("downout", "topout")):
            path = f"{authors}.ops.{level}"
            yield unit(
                f"level_fusion_{ours}_{side}", f"{path}.conv", f"{path}.norm", f"{mmaction2}.downsamples.{level}.conv"
            )
        path = f"{authors}.fusion_conv"
        yield unit(f"level_fusion_{ours}", f"{path}.0", f"{path}.1", f"{mmaction2}.fusion_conv")
    yield unit("pyramid_fusion", "pyramid_fusion_op.0", "pyramid_fusion_op.1", "pyramid_fusion")
    yield unit("AuxHead", "aux_head.convs.conv", "aux_head.convs.bn", "aux_head.conv")
