"""MindSpore's StNet: its names, its two differences, and its numbers."""

import numpy as np
import paddle
import pytest

from engine import Predictor
from engine.configuration import configure
from engine.graph import compat
from engine.weights import formats
from engine.weights import load as weights
from models import find
from models.layers import resnet
from support import goldens
from utils.errors import WeightsError

CASE = "mindspore_s7x5_112_b2"


@pytest.fixture(scope="module")
def theirs():
    """{MindSpore's name: array} by the rule of the goldens; its classifier is [classes, features]."""
    found = {}
    for row in goldens.table("STNET_mindspore"):
        transposed = row["name"] == "fc.weight"
        shape = row["shape"][::-1] if transposed else row["shape"]
        array = goldens.make_parameter(row["paddle_name"], shape, row["role"])
        found[row["name"]] = array.T if transposed else array
    return found


def test_logits(theirs, capsys):
    data = goldens.numbers("STNET", CASE)
    predictor = Predictor("STNET", weights=theirs, use_gpu=False)
    assert predictor.config.MODEL.edition == "mindspore"
    image = goldens.make_input("STNET", CASE, "image", data["input_image_shape"])
    found = predictor.run({"image": image})["logits"]
    assert goldens.relative_error(found, data["logits_f64"]) < 2e-5


def test_names_and_layouts(theirs):
    model_class, config = configure("STNET", weights=theirs)
    arrays, skipped = weights.read(theirs, model_class(config, "infer"), {})
    assert set(arrays) == {row["name"] for row in goldens.table("STNET")} and not skipped
    np.testing.assert_array_equal(arrays["fc_0.w_0"], theirs["fc.weight"].T)
    np.testing.assert_array_equal(arrays["res4b_branch2c_weights"], theirs["layer3.1.conv3.weight"])
    np.testing.assert_array_equal(arrays["batch_norm_44.w_2"], theirs["temp2.bn1.bn2d.moving_variance"])


def test_grouped_kernels_are_spread_over_dense_ones(theirs):
    grouped = {**theirs, "xception.att_1.weight": np.ones((1024, 1, 3, 1), np.float32)}
    model_class, config = configure("STNET", weights=grouped)
    arrays, _ = weights.read(grouped, model_class(config, "infer"), {})
    dense = arrays["xception_att1.w_0"]
    assert dense.shape == (1024, 1024, 3, 1) and dense.sum() == 3 * 1024 and (dense[7, 7] == 1).all()


def test_an_edition_of_the_command_line_is_kept(theirs):
    model_class, config = configure("STNET", overrides={"MODEL.edition": "paddle"}, weights=theirs)
    with pytest.raises(WeightsError, match="MODEL.edition is 'paddle'"):
        weights.read(theirs, model_class(config, "infer"), {})


def test_a_config_file_does_not_decide_the_edition(theirs):
    _, config = configure("STNET", "configs/stnet.yaml", weights=theirs)
    assert config.MODEL.edition == "mindspore"


def test_resnet_of_mindspore_as_a_backbone():
    """Its names are StNet's; its classifier is another."""
    rows = [row for row in goldens.table("STNET_mindspore") if row["name"].startswith(("conv1", "bn1", "layer"))]
    resnet = {row["name"]: goldens.make_parameter(row["paddle_name"], row["shape"], row["role"]) for row in rows}
    resnet["conv1.weight"] = resnet["conv1.weight"][:, :3]
    resnet["end_point.weight"] = np.zeros((1001, 2048), np.float32)
    model_class = find("STNET")
    shapes = {row["name"]: row["shape"] for row in goldens.table("STNET")}
    values, report = weights.backbone(
        resnet, model_class(model_class.config_class(MODEL={"seglen": 5}), "train"), shapes
    )
    assert len(values) == 265 and not report.missing and report.reshaped
    np.testing.assert_array_equal(values["res2a_branch1_weights"], resnet["layer1.0.down_sample_layer.0.weight"])


def test_other_forms_tell_no_names(tmp_path):
    formats.save(tmp_path / "w.npz", {"a": np.zeros(2)})
    assert formats.names_in(tmp_path / "w.npz") == set()


@pytest.mark.parametrize("size", [90, 96, 112, 128, 224])
def test_the_max_pool_is_padded_as_theirs(size):
    """MindSpore's "same": ceil(n / 2) windows of 3; of the padding, the smaller half above and left.

    The maps before the pool have 45, 48, 56, 64 and 112 rows: one odd number, the others even. The kernel only thins
    the image out.
    """
    image = np.random.default_rng(size).random((1, 3, size, size), np.float32)
    maps = image[0, 0, ::2, ::2] / np.sqrt(1 + 1e-5)
    rows = len(maps)
    total = 2 * ((rows + 1) // 2 - 1) + 3 - rows
    edges = (total // 2, total - total // 2)
    assert edges == ((1, 1) if rows % 2 else (0, 1))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(maps, edges), (3, 3))[::2, ::2]
    np.testing.assert_allclose(_stem(image)[0, 7], windows.max(axis=(-1, -2)), rtol=1e-6)


def _stem(image):
    """What comes out of the network's first layers, whose kernels copy the middle pixel of the first channel."""
    kernel = np.zeros((64, 3, 7, 7), np.float32)
    kernel[:, 0, 3, 3] = 1
    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    place = paddle.CPUPlace()
    with compat.static_mode(), paddle.static.scope_guard(scope), paddle.utils.unique_name.guard():
        with paddle.static.program_guard(program, startup):
            pooled = resnet.stem(paddle.static.data("image", image.shape, "float32"), training=False, same=True)
        executor = paddle.static.Executor(place)
        executor.run(startup)
        scope.find_var("conv1_weights").get_tensor().set(kernel, place)
        return executor.run(program, {"image": image}, [pooled])[0]
