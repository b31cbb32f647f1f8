"""I3D and TSN's EfficientNet-Lite0 with their released weights meet the goldens; without them, pieces meet plain numpy.

The weights are fetched (`python -m engine.weights fetch NAME`) by hand or by a driver, never by these tests.
"""

import numpy as np
import paddle
import pytest

from engine.graph.device import Device
from engine.graph.program import Graph
from engine.weights import formats, released
from models import find, i3d
from models.layers import efficientnet
from models.layers.efficientnet import Block
from models.names import efficientnet as efficientnet_names
from models.names import i3d as i3d_names
from storage import cache
from support import goldens


def weights(name):
    path = cache.under_home(released.FOLDER) / released.NAMES[name].file
    if not path.is_file():
        pytest.skip(f"'{path}' is not there: python -m engine.weights fetch {name}")
    return formats.read(path).arrays


def given(data):
    """The golden's input: by the rule, clipped to -1..1, as normalised frames are."""
    x = goldens.rng(str(data["tag"])).standard_normal(tuple(data["shape"])).astype(np.float32)
    x = np.clip(x, -1, 1)
    assert np.array_equal(x.ravel()[:8], np.clip(data["first8"], -1, 1))
    return x


def run(build, arrays, values):
    """Outputs of build({name: placeholder}) with the parameters `values`."""
    paddle.enable_static()
    program, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, startup), paddle.utils.unique_name.guard():
        outputs = build({key: paddle.static.data(key, value.shape, "float32") for key, value in arrays.items()})
    device = Device()
    with paddle.static.scope_guard(device.scope):
        device.executor.run(startup)
    device.set(values)
    return device.run_program(program, arrays, outputs)


def test_i3d_meets_the_golden():
    data = goldens.numbers("I3D", "t16_224")
    clip = given(data).transpose(0, 1, 4, 2, 3).reshape(1, 1, 48, 224, 224)  # channel = frame*3 + colour
    model = find("I3D")(find("I3D").config_class(MODEL={"seglen": 16}), "infer")
    graph, device = Graph(model, raw=False), Device()
    device.initialise(graph)
    device.set(i3d_names.translated(weights("I3D")))
    (logits,) = device.run(graph, {"image": clip}, [graph.logits])
    assert goldens.relative_error(logits, data["logits"]) < 2e-5


def test_efficientnet_lite0_meets_the_golden():
    data = goldens.numbers("EfficientNetLite0", "b2_224")
    arrays = weights("EfficientNet-Lite0")
    values = {
        name: value for name, value in efficientnet_names.translated(arrays).items() if not name.startswith("_fc")
    }
    (features,) = run(lambda x: [efficientnet.features(x["image"], False)], {"image": given(data)}, values)
    assert goldens.relative_error(features, data["features"]) < 2e-5
    logits = features @ arrays["_fc.weight"].T + arrays["_fc.bias"]
    assert goldens.relative_error(logits, data["logits"]) < 2e-5


def test_every_name_of_the_released_weights_has_a_place():
    model = find("TSN")(find("TSN").config_class(MODEL={"backbone": "efficientnet_lite0"}), "infer")
    shapes, table = Graph(model).shapes, efficientnet_names.names()
    assert set(table.values()) == set(shapes) - {"fc_0.w_0", "fc_0.b_0"} and len(table) == 49 * 5
    assert shapes["block15_depthwise_weights"] == (1152, 1, 3, 3) and shapes["top_weights"] == (1280, 320, 1, 1)
    assert table["_blocks.0._bn1.running_var"] == "block0_depthwise_bn_variance"
    assert table["_blocks.3._expand_conv.weight"] == "block3_expand_weights"


def test_every_name_of_i3d_has_a_place():
    shapes = Graph(find("I3D")(find("I3D").config_class(), "infer")).shapes
    theirs = {}
    for name, shape in shapes.items():
        if name.endswith("_weights"):
            unit, shape = name.removesuffix("_weights"), tuple(shape[i] for i in (2, 3, 4, 1, 0))
            path = unit.replace("_Branch_", "/Branch_").replace("_Conv3d", "/Conv3d").lstrip("/")
            path = path[:10].replace("/Branch", "/Branch") + path[10:]
            for i in range(4):
                path = path.replace(f"/Branch_{i}_", f"/Branch_{i}/")
            theirs[f"params/{path}/Conv_0/kernel"] = np.zeros(shape, np.float16)
            theirs[f"params/{path}/BatchNorm_0/bias"] = np.zeros(shape[-1], np.float16)
            for part in ("mean", "var"):
                theirs[f"batch_stats/{path}/BatchNorm_0/{part}"] = np.zeros((1, 1, 1, 1, shape[-1]), np.float16)
    theirs["params/Logits/Conv3d_0c_1x1/Conv_0/kernel"] = np.zeros((1, 1, 1, 1024, 400), np.float16)
    theirs["params/Logits/Conv3d_0c_1x1/Conv_0/bias"] = np.zeros(400, np.float16)
    found = {name: array.shape for name, array in i3d_names.translated(theirs).items()}
    assert found == shapes and len(found) == 57 * 4 + 2


def same_conv(x, weight, stride):
    """Convolution of x [N, C, *sizes] with weight [O, C or 1, *kernel], padded as TensorFlow's "same", by loops."""
    sizes, kernel, depthwise = x.shape[2:], weight.shape[2:], weight.shape[1] == 1 < x.shape[1]
    steps = [-(-size // stride) for size in sizes]
    total = [max((n - 1) * stride + k - size, 0) for n, k, size in zip(steps, kernel, sizes, strict=True)]
    x = np.pad(x, [(0, 0), (0, 0), *((t // 2, t - t // 2) for t in total)])
    out = np.zeros((len(x), len(weight), *steps))
    for at in np.ndindex(*steps):
        window = x[(..., *(slice(i * stride, i * stride + k) for i, k in zip(at, kernel, strict=True)))]
        flat, kernels = window.reshape(*window.shape[:2], -1), weight.reshape(*weight.shape[:2], -1)
        if depthwise:
            out[(..., *at)] = (flat * kernels[:, 0]).sum(axis=2)
        else:
            out[(..., *at)] = np.einsum("ncz,ocz->no", flat, kernels)
    return out


def normed(x, values, name, scale=True):
    shape = (1, -1, *[1] * (x.ndim - 2))
    mean, variance, offset = (values[f"{name}_bn_{part}"].reshape(shape) for part in ("mean", "variance", "offset"))
    y = (x - mean) / np.sqrt(variance + 1e-3)
    return y * values[f"{name}_bn_scale"].reshape(shape) + offset if scale else y + offset


def unit_values(rng, name, shape, scale=True):
    values = {f"{name}_weights": rng.standard_normal(shape).astype(np.float32)}
    for part in ("mean", "offset", *["scale"] * scale):
        values[f"{name}_bn_{part}"] = rng.standard_normal(shape[0]).astype(np.float32)
    return {**values, f"{name}_bn_variance": rng.uniform(0.001, 2, shape[0]).astype(np.float32)}


@pytest.mark.parametrize("size, kernel, stride, outputs", [(7, 3, 1, 4), (8, 5, 2, 6), (7, 3, 2, 4), (5, 5, 1, 6)])
def test_inverted_residual_by_hand(size, kernel, stride, outputs):
    """Epsilon 1e-3, no activation after the projection, a residual where the shape stays, asymmetric padding."""
    rng = np.random.default_rng(size)
    values = {
        **unit_values(rng, "b_expand", (24, 4, 1, 1)),
        **unit_values(rng, "b_depthwise", (24, 1, kernel, kernel)),
        **unit_values(rng, "b_project", (outputs, 24, 1, 1)),
    }
    x = rng.standard_normal((2, 4, size, size)).astype(np.float32)
    block = Block(kernel, stride, 6, 4, outputs)
    (found,) = run(lambda given: [efficientnet.inverted_residual(given["x"], "b", block, False)], {"x": x}, values)
    y = np.clip(normed(same_conv(x, values["b_expand_weights"], 1), values, "b_expand"), 0, 6)
    y = np.clip(normed(same_conv(y, values["b_depthwise_weights"], stride), values, "b_depthwise"), 0, 6)
    y = normed(same_conv(y, values["b_project_weights"], 1), values, "b_project")
    wanted = x + y if stride == 1 and outputs == 4 else y
    assert goldens.relative_error(found, wanted) < 1e-5


@pytest.mark.parametrize("frames, size, kernel, stride", [(5, 8, 7, 2), (4, 7, 3, 1), (6, 9, 7, 2)])
def test_unit_of_i3d_by_hand(frames, size, kernel, stride):
    rng = np.random.default_rng(size)
    values = unit_values(rng, "u", (3, 2, kernel, kernel, kernel), scale=False)
    x = rng.standard_normal((1, 2, frames, size, size)).astype(np.float32)
    (found,) = run(lambda given: [i3d.unit(given["x"], "u", 3, kernel, False, stride)], {"x": x}, values)
    wanted = np.maximum(normed(same_conv(x, values["u_weights"], stride), values, "u", scale=False), 0)
    assert goldens.relative_error(found, wanted) < 1e-5


def test_pools_of_i3d_by_hand():
    x = np.arange(2 * 5 * 8 * 9, dtype=np.float32).reshape(1, 2, 5, 8, 9)
    kernel, stride = (3, 3, 3), (2, 2, 2)
    (found,) = run(lambda given: [i3d.max_pool(given["x"], kernel, stride)], {"x": x}, {})
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 1), (1, 1)], constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3, 4))[:, :, ::2, ::2, ::2]
    assert np.array_equal(found, windows.max(axis=(5, 6, 7)))
    features = np.random.default_rng(0).standard_normal((1, 2, 3, 8, 7)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(features, (2, 7, 7), (2, 3, 4))
    for given, wanted in ((features, windows.mean(axis=(2, 3, 4, 5, 6, 7))), (features[:, :, :1, :2, :2], None)):
        (found,) = run(lambda inputs: [i3d.pool(inputs["x"])], {"x": np.ascontiguousarray(given)}, {})
        wanted = given.mean(axis=(2, 3, 4)) if wanted is None else wanted
        np.testing.assert_allclose(found, wanted, atol=1e-6)
