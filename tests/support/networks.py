"""Every registered model in a small size, with weights that keep its scores unsaturated."""

import importlib.util

import numpy as np
import pytest

from engine.configuration import configure
from engine.graph.program import Graph
from engine.predictor import load_model
from models import MODELS
from support import tiny

ONNX = ("paddle2onnx", "onnx", "onnxruntime")
needs_onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ONNX)), reason="the extra 'onnx' is not installed"
)


LITE = "TSN on EfficientNet-Lite0"
VARIANTS = {LITE: ("TSN", {"MODEL.backbone": "efficientnet_lite0"}), "I3D": ("I3D", {"MODEL.seglen": 16})}


def settings(name):
    """Overrides for a registered model, or one of VARIANTS."""
    model, more = VARIANTS.get(name, (name, {}))
    clips = {"MODEL.seg_num": 2, "INFER.short_size": 36, "INFER.target_size": 32, **more}
    return {
        **(clips if MODELS[model].data == "clips" else tiny.FEATURES.get(name, {})),
        "MODEL.num_classes": 6,
        "MODEL.topk": 2,
    }


def weights(name, overrides):
    """{name: float32 array}: vectors near 1, kernels and matrices that keep the size of what goes through them."""
    model, config = configure(name, None, overrides)
    rng = np.random.default_rng(5)

    def value(shape):
        if len(shape) == 1:
            return 1 + 0.05 * rng.standard_normal(shape)
        return 1.5 * rng.standard_normal(shape) / np.sqrt(shape[0] if len(shape) == 2 else np.prod(shape[1:]))

    return {key: value(shape).astype(np.float32) for key, shape in sorted(Graph(model(config, "infer")).shapes.items())}


def trained(name):
    """A registered model, or one of VARIANTS, with weights of its own."""
    model = VARIANTS.get(name, (name,))[0]
    return load_model(model, None, weights(model, settings(name)), settings(name), use_gpu=False)


def inputs(model, raw, videos=3, seed=1):
    """What Predictor.run takes: as stored (uint8), or floats as the network takes them."""
    rng = np.random.default_rng(seed)

    def numbers(*shape):
        return rng.integers(0, 256, shape, np.uint8) if raw else rng.standard_normal(shape, np.float32)

    if model.data == "features":
        return {
            name: [numbers(5 + 7 * i, size) for i in range(videos)] for name, size in model.settings.features.items()
        }
    length, count, size = model.settings.seglen, model.config.segments("infer"), model.config.INFER.target_size
    if raw:
        return {"frames": numbers(videos, count * length, size, size, 3)}
    return {"image": numbers(videos, count, 3 * length, size, size)}
