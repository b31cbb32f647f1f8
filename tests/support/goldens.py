"""Numbers of the first-generation zoo that this one has to meet, and the rule that makes their weights and inputs.

If ../shared/golden exists beside the checkout, the whole set is read from there, else the small copy in tests/golden.
"""

import contextlib
import json
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FULL = ROOT.parent / "shared" / "golden"
COMPACT = ROOT / "tests" / "golden"
FOLDER = FULL if FULL.is_dir() else COMPACT

# Extra factors on a few weights, so that the logits of the feature models depend visibly on the inputs.
GAIN = {
    "fc1.weights": 150.0,
    "logistic.weights": 3.0,
    "fc_3.w_0": 5.0,
    "fc_7.w_0": 5.0,
    "fc_8.w_0": 10.0,
    "fc_9.w_0": 2.0,
    "fc_10.w_0": 3.0,
    "hidden1_fc_weights": 10.0,
    "logits_clf_weights": 3.0,
}


def rng(tag):
    return np.random.Generator(np.random.PCG64(zlib.crc32(tag.encode())))


def make_parameter(name, shape, role):
    """The float32 value that the producer of the goldens gave parameter `name`."""
    z = rng(name).standard_normal(tuple(shape))
    if role == "conv_weight":
        z = z * np.sqrt(1.0 / np.prod(shape[1:]))
    elif role in ("fc_weight", "lstm_weight", "matrix"):
        z = z * np.sqrt(1.0 / shape[0]) * GAIN.get(name, 1.0)
    elif role in ("bias", "lstm_bias", "shift_b", "bn_bias", "bn_mean"):
        z = 0.1 * z
    elif role == "bn_scale":
        z = 1.0 + 0.1 * z
    elif role == "bn_variance":
        z = np.exp(0.1 * z)
    elif role != "shift_w":
        raise ValueError(f"no rule for the role '{role}'")
    return z.astype(np.float32)


def make_input(model, case, name, shape):
    return rng(f"input/{model}/{case}/{name}").standard_normal(tuple(shape)).astype(np.float32)


def table(model):
    """Rows (name, shape, role, trainable, ...) of params_<model>.json in creation order."""
    return json.loads((FOLDER / f"params_{model}.json").read_text())["params"]


def parameters(model):
    """{name: float32 array} of a whole model by the rule."""
    return {row["name"]: make_parameter(row["name"], row["shape"], row["role"]) for row in table(model)}


def numbers(model, case):
    return np.load(FOLDER / f"golden_{model}_{case}.npz")


def cases(model, kind):
    """Names of the cases of a model whose name starts with `kind` (test, train, ...); none is an error."""
    found = sorted(path.stem.removeprefix(f"golden_{model}_") for path in FOLDER.glob(f"golden_{model}_{kind}*.npz"))
    if not found:
        raise LookupError(f"no golden_{model}_{kind}*.npz in {FOLDER}")
    return found


def relative_error(found, wanted):
    """Largest difference relative to the largest magnitude of `wanted`."""
    return float(np.abs(np.asarray(found, np.float64) - wanted).max() / max(np.abs(wanted).max(), 1e-300))


def projection(name, value):
    """Sum of a tensor against a fixed random direction: catches permutations that a norm does not see."""
    return float((np.asarray(value, np.float64) * rng("proj:" + name).standard_normal(value.shape)).sum())


@contextlib.contextmanager
def precision(dtype):
    """Build graphs in `dtype`: the goldens are exact in float64, and training is chaotic in float32."""
    import paddle

    before = paddle.get_default_dtype()
    paddle.set_default_dtype(dtype)
    try:
        yield
    finally:
        paddle.set_default_dtype(before)
