"""TSN and StNet equal the first zoo: names, shapes, logits, losses, gradients, one update, running statistics."""

import numpy as np
import pytest

from engine.graph.device import Device
from engine.graph.program import Graph
from models import find
from support import goldens

SIZES = {"TSN": {"seglen": 1}, "STNET": {"seglen": 5}}
CASES = {kind: [(name, case) for name in SIZES for case in goldens.cases(name, kind)] for kind in ("test", "train")}


def build(name, case, mode, data):
    """The graph of one golden case, and its feed."""
    shape = tuple(int(n) for n in data["input_image_shape"])
    model_class = find(name)
    keys = {"seg_num": shape[1], **SIZES[name]}
    model = model_class(model_class.config_class(MODEL=keys), mode)
    graph = Graph(model, raw=False, training=mode == "train", size=shape[3:], segments=shape[1])
    image = goldens.make_input(name, case, "image", shape)
    return graph, {"image": image, "label": data["label"]}


def loaded(graph, name, dtype):
    device = Device()
    device.initialise(graph)
    device.set({key: value.astype(dtype) for key, value in goldens.parameters(name).items()})
    return device


@pytest.mark.parametrize("name", SIZES)
def test_names_and_shapes_equal_the_table(name):
    model_class = find(name)
    graph = Graph(model_class(model_class.config_class(MODEL=SIZES[name]), "infer"))
    found = {key: (list(shape), trainable) for key, (shape, trainable) in graph.parameters.items()}
    assert found == {row["name"]: (row["shape"], row["trainable"]) for row in goldens.table(name)}


@pytest.mark.parametrize("mode", ["test", "infer"])
@pytest.mark.parametrize("name, case", CASES["test"])
def test_forward(name, case, mode):
    data = goldens.numbers(name, case)
    graph, feed = build(name, case, mode, data)
    device = loaded(graph, name, np.float32)
    logits, probabilities = device.run(graph, feed, [graph.logits, graph.probabilities])
    assert goldens.relative_error(logits, data["logits_f64"]) < 2e-5
    assert goldens.relative_error(probabilities, data["prob_f64"]) < 2e-5
    if mode == "test":
        (loss,) = device.run(graph, feed, [graph.loss])
        assert float(loss) == pytest.approx(float(data["loss_f64"][0]), rel=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name, case", CASES["train"])
def test_training_step_in_double_precision(name, case):
    data = goldens.numbers(name, case)
    with goldens.precision("float64"):
        graph, feed = build(name, case, "train", data)
    feed["image"] = feed["image"].astype(np.float64)
    device = loaded(graph, name, np.float64)
    before = device.get(graph.parameters)
    graph.rate.set(float(data["lr_f64"][0]))
    names = [str(key) for key in data["param_names"]]
    losses, gradients = [], None
    for step in range(3):
        loss, *values = device.run(graph, feed, [graph.loss, *(graph.gradients[key] for key in names)])
        losses.append(float(loss))
        if step == 0:
            gradients, after = dict(zip(names, values, strict=True)), device.get(graph.parameters)
    np.testing.assert_allclose(losses, data["loss_steps_f64"], rtol=1e-6)

    real = [i for i, key in enumerate(names) if key not in set(data["zero_grad_params"])]
    norms = np.array([np.linalg.norm(gradients[key]) for key in names])
    np.testing.assert_allclose(norms[real], data["grad_norm_f64"][real], rtol=1e-6)
    moved = np.array([np.linalg.norm(after[key] - before[key]) for key in names])
    np.testing.assert_allclose(moved[real], data["delta_norm_f64"][real], rtol=1e-6)
    projected = np.array([goldens.projection(key, gradients[key]) for key in names])
    np.testing.assert_allclose(projected[real] / norms[real], data["grad_proj_f64"][real] / norms[real], atol=1e-6)

    statistics = [str(key) for key in data["bnstat_names"]]
    moved = np.array([np.linalg.norm(after[key] - before[key]) for key in statistics])
    np.testing.assert_allclose(moved, data["bnstat_delta_norm_f64"], rtol=1e-5)
