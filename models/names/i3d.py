"""Names of I3D's parameters in the released weights (a Flax module tree, written with `/` between its levels)."""

import numpy as np

_MARK = "params/Conv3d_1a_7x7/Conv_0/kernel"
_PARTS = {
    ("params", "Conv_0/kernel"): "weights",
    ("params", "BatchNorm_0/bias"): "bn_offset",
    ("batch_stats", "BatchNorm_0/mean"): "bn_mean",
    ("batch_stats", "BatchNorm_0/var"): "bn_variance",
}
HEAD = "Logits_Conv3d_0c_1x1"


def translated(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """{name: array} with the names and layout used here, if they are those of the released weights.

    Kernels [t, h, w, in, out] become [out, in, t, h, w], the classifier's [in, out].
    """
    if _MARK not in arrays:
        return arrays
    return dict(_translated(name, array) for name, array in arrays.items())


def _translated(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    collection, _, rest = name.partition("/")
    path, _, part = rest.rpartition("/")
    path, _, layer = path.rpartition("/")
    unit = path.replace("/", "_")
    if unit == HEAD:
        return (f"{HEAD}_b", array) if part == "bias" else (f"{HEAD}_w", array.reshape(array.shape[-2:]))
    ours = _PARTS.get((collection, f"{layer}/{part}"))
    if ours is None:
        return name, array
    return f"{unit}_{ours}", array.transpose(4, 3, 0, 1, 2) if ours == "weights" else array.reshape(-1)
