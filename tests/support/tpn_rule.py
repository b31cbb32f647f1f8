"""The rule behind the weights, inputs and checksums of the TPN goldens. The authors' (torch) names seed the weights."""

import json

import numpy as np

from models.names.tpn import names
from support.goldens import FOLDER, rng

CLASSIFIER_SCALE = np.float32(
    2.0**-10
)  # rule B: keeps the softmax unsaturated, so that loss and gradients say something


def table():
    """Rows (torch_name, shape, kind, trainable, seed_paddle_name, mmaction2_name, ...) of params_TPN.json."""
    return json.loads((FOLDER / "params_TPN.json").read_text())


def make_parameter(torch_name, shape, kind):
    """The float32 value of a parameter by rule A, in the torch shape."""
    r = rng(torch_name).standard_normal(tuple(shape))
    if kind in ("conv_weight", "fc_weight"):
        r = r * np.sqrt(2.0 / np.prod(shape[1:]))
    elif kind == "bn_weight":
        r = 1 + 0.1 * r
    elif kind in ("bn_bias", "bn_mean"):
        r = 0.1 * r
    elif kind == "bn_var":
        r = np.exp(0.1 * r)
    elif kind == "bias":
        r = 0.01 * r
    else:
        raise ValueError(f"no rule for the kind '{kind}'")
    return r.astype(np.float32)


def parameters():
    """{name here: float32 array} of the whole network by rule A."""
    by_torch_name = {row["torch_name"]: row for row in table()}
    values = {}
    for name, (torch_name, _, transposed) in names().items():
        row = by_torch_name[torch_name]
        value = make_parameter(torch_name, row["shape"], row["kind"])
        values[name] = value.T if transposed else value
    return values


def classifiers(values, rule):
    """The two matrices in which rules A and B differ."""
    scale = CLASSIFIER_SCALE if rule == "B" else np.float32(1.0)
    return {name: values[name] * scale for name in ("cls_head_fc_w", "AuxHead_fc_w")}


def make_image(seed, shape):
    """Clips drawn as [N, M, 3, T, H, W], laid out as the network takes them: float32 [N, M, 3*T, H, W]."""
    clips = np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(shape)).astype(np.float32)
    n, m, _, frames, height, width = shape
    return np.ascontiguousarray(clips.transpose(0, 1, 3, 2, 4, 5)).reshape(n, m, 3 * frames, height, width)


def projection(name, array):
    """Dot product with a fixed random vector, divided by sqrt(size): detects permutations, which a norm does not."""
    flat = np.asarray(array, np.float64).ravel()
    return float(flat @ rng("proj:" + name).standard_normal(flat.size) / np.sqrt(flat.size))
