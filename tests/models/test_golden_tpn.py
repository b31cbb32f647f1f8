"""TPN equals the authors' code: names, every block, logits, losses, gradients, running statistics, several clips."""

import json

import numpy as np
import paddle
import pytest
from paddle.nn.initializer import Constant

from engine.graph import compat
from engine.graph.device import Device
from engine.graph.program import Graph
from models import tpn
from models.layers import resnet
from models.layers.named import conv_norm, convolve, parameter
from models.layers.resnet import block_names
from models.names.tpn import names
from support import goldens, tpn_rule

CASES = goldens.cases("TPN", "n")
EXACT = [case for case in CASES if "112" in case]  # small enough for float64


class FrozenNorms(tpn.TPN):
    """Both classifiers and the training loss over running statistics: how all goldens but `_bntrain` were made."""

    def network(self, inputs, training):
        settings = self.settings
        return tpn.tpn(
            inputs["image"],
            settings.num_classes,
            settings.num_layers,
            settings.temporal_scales,
            settings.flow,
            settings.dropout,
            training=False,
            auxiliary=True,
        )


def settings(meta):
    """Dropout is off: its draws differ between frameworks."""
    return tpn.TPN.config_class(MODEL={"seglen": meta["T"], "temporal_scales": meta["scales"], "dropout": 0.0})


def training_graph(meta):
    model = tpn.TPN if meta["bn_train"] else FrozenNorms
    return Graph(
        model(settings(meta), "train"), raw=False, training=True, size=(meta["H"], meta["W"]), segments=meta["M"]
    )


def blocks(image, meta):
    """{golden name: value} of what happens between image and logits, put together from the network's own pieces."""
    training, ratio, out = False, meta["scales"][1] // meta["scales"][0], {}
    clips = tpn.clips_first(image)
    out["backbone.conv1"] = convolve(clips, parameter("conv1_weights", [64, 3, 1, 7, 7], Constant(0.0)), stride=2)
    out["backbone.bn1"] = conv_norm(clips, "conv1", "bn_conv1", 64, (1, 7, 7), training, stride=2)
    x = out["backbone.pool1"] = resnet.stem(clips, training, resnet.SLOW_STEM)
    for number, path in enumerate(block_names(meta["depth"]), start=2):
        kernels = resnet.slow_kernels(number)
        out[f"backbone.layer{number - 1}.0"] = resnet.stage(x, number, path[:1], training, kernels)
        x = out[f"backbone.layer{number - 1}"] = resnet.stage(x, number, path, training, kernels)

    stage4, stage5 = out["backbone.layer3"], out["backbone.layer4"]
    out["neck.spatial_modulation.0"] = tpn.align_space(stage4, training)
    out["neck.spatial_modulation.1"] = stage5
    levels = []
    for i in (0, 1):
        aligned = out[f"neck.spatial_modulation.{i}"]
        out[f"neck.temporal_conv.{i}"] = tpn.temporal_conv(aligned, f"TemporalModulation{i}", groups=32)
        levels.append(tpn.set_tempo(aligned, i, meta["scales"][i]))
        out[f"neck.temporal_modulation.{i}"] = levels[i]
    low, high = tpn.top_down(*levels), levels[1]
    out["neck.downsample.0"] = tpn.pool_time(tpn.temporal_conv(low, "Downsamping"), ratio)
    for way, name, top in (("topdown", "topdown", high), ("bottomup", "downtop", tpn.bottom_up(low, high, ratio))):
        for i, (x, side) in enumerate(((low, "downout"), (top, "topout"))):
            out[f"neck.{way}.level{i}"] = x
            x = tpn.pool_time(x, ratio if i == 0 else 1)
            out[f"neck.{way}.reduced{i}"] = tpn.unit(
                x, f"level_fusion_{name}_{side}", tpn.WIDTH, (1, 1, 1), training, groups=32
            )
        out[f"neck.{way}.fused"] = tpn.fuse(low, top, f"level_fusion_{name}", ratio, training)
    out["neck.pyramid_fusion"] = tpn.neck(stage4, stage5, meta["scales"], "cascade", training)
    out["aux.conv"] = tpn.auxiliary_features(stage4, training)
    out["aux.logits"] = tpn.head(tpn.averaged(out["aux.conv"], meta["M"]), "AuxHead", 400, 0.0, training)
    for name, clips in (("head.logits", meta["M"]), ("head.clip_logits", 1)):
        out[name] = tpn.head(tpn.averaged(out["neck.pyramid_fusion"], clips), "cls_head", 400, 0.0, training)
    return out


@pytest.fixture(scope="module")
def weights():
    return tpn_rule.parameters()


@pytest.fixture(scope="module")
def prepare(weights):
    """A function (dtype, rule) -> device with the rule's weights. All graphs of a dtype share one device."""
    devices = {}

    def prepared(dtype, rule):
        if dtype not in devices:
            meta = {"T": 8, "H": 32, "W": 32, "M": 1, "scales": [8, 8], "bn_train": False}
            with goldens.precision(dtype):
                graph = training_graph(meta)
            devices[dtype] = Device()
            devices[dtype].initialise(graph)
            devices[dtype].set({name: value.astype(dtype) for name, value in weights.items()})
        statistics = {name: value for name, value in weights.items() if name.endswith(("_mean", "_variance"))}
        changed = {
            **statistics,
            **tpn_rule.classifiers(weights, rule),
        }  # by earlier tests; their learning rate was zero
        devices[dtype].set({name: value.astype(dtype) for name, value in changed.items()})
        return devices[dtype]

    return prepared


def load(case):
    data = goldens.numbers("TPN", case)
    meta = json.loads(str(data["meta"]))
    dtype = "float64" if case in EXACT else "float32"
    image = tpn_rule.make_image(meta["input_seed"], meta["input_shape"]).astype(dtype)
    return data, meta, dtype, {"image": image, "label": np.array(meta["labels"]).reshape(-1, 1)}


def test_names_of_three_projects():
    rows = tpn_rule.table()
    assert names() == {
        row["seed_paddle_name"]: (row["torch_name"], row["mmaction2_name"], row["fc_transposed_in_paddle"])
        for row in rows
    }


def test_names_and_shapes_equal_the_table():
    def shape(row):
        return tuple(row["shape"][::-1] if row["fc_transposed_in_paddle"] else row["shape"])

    wanted = {row["seed_paddle_name"]: (shape(row), row["trainable"]) for row in tpn_rule.table()}
    model = tpn.TPN
    assert Graph(model(model.config_class(), "train"), training=True).parameters == wanted
    deployed = {name: value for name, value in wanted.items() if not name.startswith("AuxHead")}
    assert Graph(model(model.config_class(), "infer")).parameters == deployed


@pytest.mark.parametrize("case", [case for case in CASES if "bntrain" not in case])  # there the statistics tell as much
@compat.static_mode()
def test_blocks(case, prepare):
    data, meta, dtype, feed = load(case)
    bound = 1e-9 if dtype == "float64" else 1e-5
    program = paddle.static.Program()
    with goldens.precision(dtype), paddle.static.program_guard(program, paddle.static.Program()):
        values = blocks(paddle.static.data("image", [None, *feed["image"].shape[1:]], dtype), meta)
    device = prepare(dtype, "A")
    with paddle.static.scope_guard(device.scope):
        found = dict(
            zip(values, device.executor.run(program, {"image": feed["image"]}, list(values.values())), strict=True)
        )
    unseen = {"aux.pooled", "head.pooled", "head.pooled_clip", "head.prob_avg"}
    assert set(found) == set(data["block_names"]) - unseen
    for name, x in found.items():
        row = list(data["block_names"]).index(name)
        x = x.astype(np.float64)
        stats = np.array([x.mean(), x.std(), np.linalg.norm(x), x.min(), x.max()])
        rms = data["block_stats"][row][2] / np.sqrt(x.size)
        scale = np.array([rms, rms, rms * np.sqrt(x.size), np.abs(x).max(), np.abs(x).max()])
        assert json.loads(str(data["block_shapes"][row])) == list(x.shape), name
        np.testing.assert_allclose(stats / scale, data["block_stats"][row] / scale, atol=bound, err_msg=name)
        np.testing.assert_allclose(
            x.ravel()[:16] / rms, data["block_first16"][row] / rms, atol=10 * bound, err_msg=name
        )
        assert abs(tpn_rule.projection(name, x) - data["block_proj"][row]) < bound * rms, name
    for name in ("aux.logits", "head.logits", "head.clip_logits"):
        assert goldens.relative_error(found[name], data[f"full/{name}"]) < bound


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_training_step(case, prepare):
    data, meta, dtype, feed = load(case)
    rule, key = ("A", "") if meta["bn_train"] else ("B", "B")  # rule A saturates the softmax of all other cases
    with goldens.precision(dtype):
        graph = training_graph(meta)
    device = prepare(dtype, rule)
    logits, loss, *gradients = device.run(graph, feed, [graph.logits, graph.loss, *graph.gradients.values()])
    bound = 1e-9 if dtype == "float64" else 1e-5
    assert goldens.relative_error(logits, data[f"full{key}/head.logits"]) < bound
    assert float(loss) == pytest.approx(float(data[f"loss{key}"]), rel=bound)

    rows = {str(name): i for i, name in enumerate(data["grad_names"])}
    assert {names()[name][0] for name in graph.gradients} == set(rows)
    for name, gradient in zip(graph.gradients, gradients, strict=True):
        theirs, _, transposed = names()[name]
        gradient = gradient.T if transposed else gradient
        norm = data[f"grad_l2{key}"][rows[theirs]]
        assert np.linalg.norm(gradient.ravel()) == pytest.approx(norm, rel=1e-8 if dtype == "float64" else 1e-2), name
        if dtype == "float64" and gradient.size < 2**22:  # the direction of a larger one takes a second to draw
            rms = norm / np.sqrt(gradient.size)
            assert abs(tpn_rule.projection(theirs, gradient) - data[f"grad_proj{key}"][rows[theirs]]) < 1e-8 * rms, name
    if meta["bn_train"]:
        check_statistics(device, data)


def check_statistics(device, data):
    """Running statistics after one step: 0.9 of the old, 0.1 of the batch's; Paddle takes the biased variance.

    Not to the last digit: Paddle keeps the momentum 0.9 in float32.
    """
    ours = {theirs: name for name, (theirs, _, _) in names().items()}
    for i, module in enumerate(map(str, data["bn_names"])):
        for suffix, key in (("running_mean", "bn_new_mean"), ("running_var", "bn_new_var_biased")):
            name = ours[f"{module}.{suffix}"]
            value = device.get([name])[name]
            norm = data[f"{key}_l2"][i]
            assert np.linalg.norm(value) == pytest.approx(norm, rel=1e-6), name
            assert abs(tpn_rule.projection(module, value) - data[f"{key}_proj"][i]) < 1e-6 * norm, name


@pytest.mark.parametrize("case", [case for case in CASES if "m3" in case])
def test_clips_of_a_video_as_samples(case, prepare):
    """A test feeds each view as a sample and averages probabilities; the network averages the clips of one sample."""
    data, meta, dtype, feed = load(case)
    n, m, size = meta["N"], meta["M"], (meta["H"], meta["W"])
    model = tpn.TPN(tpn.TPN.config_class(), "test")  # dropout as shipped: it does nothing here
    device = prepare(dtype, "B")

    together = Graph(model, raw=False, size=size, segments=m)
    logits, loss = device.run(together, feed, [together.logits, together.loss])
    assert goldens.relative_error(logits, data["fullB/head.logits"]) < 1e-5
    assert float(loss) == pytest.approx(float(data["loss_clsB"]), rel=1e-5)

    apart = Graph(model, raw=False, size=size, segments=1)
    feed = {
        "image": feed["image"].reshape(n * m, 1, *feed["image"].shape[2:]),
        "label": np.repeat(feed["label"], m, axis=0),
    }
    logits, probabilities = device.run(apart, feed, [apart.logits, apart.probabilities])
    assert goldens.relative_error(logits, data["fullB/head.clip_logits"]) < 1e-5
    assert goldens.relative_error(probabilities.reshape(n, m, -1).mean(axis=1), data["fullB/head.prob_avg"]) < 1e-5
