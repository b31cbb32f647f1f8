"""Every registered model's tensors load in every file format with every option; messages for files that do not fit."""

import shutil

import numpy as np
import pytest

from engine.graph.program import Graph
from engine.weights import formats
from engine.weights import load as weights
from models import MODELS, find
from support.forms import FORMS, values, write
from utils import cli
from utils.errors import WeightsError

MODES = ("TRAIN", "VALID", "TEST", "INFER")
SMALL = {  # the networks with sizes to choose; the others are as big as their backbones
    "AttentionCluster": {"cluster_nums": [4, 4]},
    "AttentionLSTM": {"embedding_size": 8, "lstm_size": 16},
    "NEXTVLAD": {"cluster_size": 4, "hidden_size": 16},
}


def build(name, mode="infer"):
    model_class = find(name)
    sizes = {mode: {"short_size": 36, "target_size": 32} for mode in MODES} if model_class.data == "clips" else {}
    model = model_class(model_class.config_class(MODEL={"num_classes": 3, **SMALL.get(name, {})}, **sizes), mode)
    return model, Graph(model).shapes


@pytest.fixture(scope="module", params=MODELS)
def built(request):
    return build(request.param)


@pytest.fixture
def work(tmp_path):
    """A folder that does not outlive its test: these files are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_every_model_in_every_form(built, form, work):
    """In half precision, which is as good and half as large."""
    model, shapes = built
    arrays = values(shapes, np.float16)
    found, report = weights.strict(str(write(work, form, arrays)), model, shapes)
    assert set(found) == set(shapes) == set(report.loaded) and not report.skipped
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


@pytest.fixture(scope="module")
def tsn():
    return build("TSN")


def few(shapes):
    """Part of a model is enough where reading is all that matters."""
    return {name: shape for name, shape in shapes.items() if np.prod(shape) < 100_000}


@pytest.mark.parametrize("rule", [weights.strict, weights.finetune, weights.backbone])
@pytest.mark.parametrize("form", FORMS)
def test_every_option_takes_every_form(tsn, rule, form, work):
    model, shapes = tsn[0], few(tsn[1])
    found, report = rule(str(write(work, form, values(shapes))), model, shapes)
    assert len(found) >= len(shapes) - 2 and report.wanted >= len(shapes) - 2 and set(report.loaded) == set(found)


def test_every_spelling(tsn, work, monkeypatch):
    """A prefix, a file, its companion, a folder of checkpoints, the home folder, an address."""
    model, shapes = tsn[0], few(tsn[1])
    formats.save(work / "TSN_latest.pdparams", values(shapes))
    for name in ("TSN_latest.pdopt", "TSN_latest.json"):
        (work / name).write_text("{}")
    monkeypatch.setenv("HOME", str(work))
    for spelling in ("TSN_latest", "TSN_latest.pdparams", "TSN_latest.pdopt", "TSN_latest.json", ""):
        assert len(weights.strict(str(work / spelling), model, shapes)[0]) == len(shapes)
    for spelling in ("~/TSN_latest", (work / "TSN_latest.pdparams").as_uri()):
        assert len(weights.strict(spelling, model, shapes)[0]) == len(shapes)
    with pytest.raises(WeightsError, match="weights '.*nowhere' do not exist"):
        weights.strict(str(work / "nowhere"), model, shapes)


def test_a_file_beside_a_folder_of_its_name(tsn, work):
    """The old zoo's cache may hold both `x` and `x.pdparams`: what was typed counts."""
    model, shapes = tsn[0], few(tsn[1])
    (work / "x").mkdir()
    formats.save(work / "x.pdparams", values(shapes))
    assert len(weights.strict(str(work / "x.pdparams"), model, shapes)[0]) == len(shapes)


def test_optional_parameters_may_be_missing(tsn, work):
    """Weights of NEXTVLAD before v1.6 lack `eigen_param`, combined ones too."""

    class WithOptional(type(tsn[0])):
        optional = ("fc_0.b_0",)

    model, shapes = WithOptional(tsn[0].config, "infer"), few(tsn[1])
    arrays = values(shapes)
    del arrays["fc_0.b_0"]
    for form in ("combined", ".npz"):
        for rule in (weights.strict, weights.finetune):
            assert rule(str(write(work, form, arrays)), model, shapes)[1].missing == ["fc_0.b_0"]


def test_what_is_no_array_is_reported(tsn, work):
    model, shapes = tsn[0], few(tsn[1])
    path = write(work, "directory", values(shapes))
    (path / "README").write_text("Weights of 2018.")
    report = weights.strict(str(path), model, shapes)[1]
    assert report.skipped == ["README"] and "skipped 1: README" in str(report)


def run(capsys, *words):
    from engine.weights.__main__ import main

    with pytest.raises(SystemExit) as stop:
        cli.run(main, [str(word) for word in words])
    output = capsys.readouterr()
    return stop.value.code, output.out + output.err


def test_convert_and_inspect(tsn, work, capsys):
    """Through all forms that can be written and back; a combined file needs to know the model."""
    arrays = values(tsn[1], np.float16)
    path = write(work, "combined", arrays)
    words = ("--model", "tsn", "-o", "MODEL.num_classes=3")
    for number, form in enumerate((".safetensors", ".npz", ".pdparams")):
        code, output = run(capsys, "convert", path, work / f"{number}{form}", *words)
        assert code == 0 and "267 tensors written" in output
        path, words = work / f"{number}{form}", ()
    found = formats.read(path).arrays
    assert all(np.array_equal(found[name], arrays[name]) and found[name].dtype == np.float16 for name in arrays)
    code, output = run(capsys, "inspect", path)
    assert code == 0 and "fc_0.w_0" in output and "[2048, 3]" in output and "267 tensors" in output
    code, output = run(capsys, "inspect", write(work, "combined", {"b": np.ones(2, np.float32)}))
    assert code == 2 and "it can only be read for a model" in output
    assert run(capsys, "convert", path, work / "x.onnx")[0] == 2
