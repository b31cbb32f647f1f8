"""Exported models give the trained model's outputs in every format; messages for wrong folders and fixed settings."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import paddle
import pytest

from engine import Predictor
from engine.export import sidecar
from engine.export import write as exporter
from engine.graph import compat
from engine.graph.program import Graph
from engine.predictor import load_model
from models import MODELS
from models.layers.options import BuildOptions, FoldedNorm
from support import goldens, networks
from utils.errors import ConfigError, DataError, WeightsError

FORMS = [("paddle", "uint8"), ("paddle", "float"), pytest.param("onnx", "uint8", marks=networks.needs_onnx)]


@pytest.fixture(scope="module", params=[*MODELS, networks.LITE])
def trained(request):
    return networks.trained(request.param)


@pytest.fixture(scope="module")
def small():
    """The model that is exported fastest."""
    return networks.trained("AttentionCluster")


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "model"
    exporter.export(small, folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """A copy of an exported model, to be damaged."""
    return shutil.copytree(whole, tmp_path / "model")


@pytest.mark.parametrize("form, interface", FORMS)
def test_answers_as_the_trained_model(trained, form, interface, tmp_path):
    """Other numbers, batch and lengths than those that the export itself compares."""
    assert exporter.export(trained, tmp_path / "model", form, interface) <= 1e-5
    predictor = Predictor(exported=tmp_path / "model")
    given = networks.inputs(trained.model, raw=interface == "uint8")
    settings, feed = trained.model.interface(given)
    probabilities, logits = trained.run(feed, **settings)
    found = predictor.run(given)
    assert (
        found["logits"].shape == (3, 6) and np.ptp(logits, axis=0).max() > 1e-3 * np.abs(logits).max()
    )  # videos are told apart
    assert goldens.relative_error(found["logits"], logits) < 1e-5
    assert goldens.relative_error(found["probabilities"], probabilities) < 1e-5
    assert predictor.names == trained.names and predictor.config == trained.config


def test_batch_norms_behind_convolutions_are_folded(trained):
    """A network on clips keeps only those of StNet that stand elsewhere, under names of the old zoo's counter."""
    graph = Graph(trained.model, fold_norms=True)
    names, folded = set(graph.shapes), graph.options.folded
    plain = set(trained.graph().shapes)
    gone = {name for norm in folded.values() for name in (norm.scale, norm.mean, norm.variance)}
    assert names == plain - gone
    assert bool(folded) == (trained.model.data == "clips")
    assert trained.model.data == "features" or not any(
        name.endswith(("_scale", "_mean", "_variance")) for name in names
    )


def test_folded_values():
    """weight * scale / sqrt(variance + 1e-5), offset - mean * the same factor; only norms after convolutions fold."""
    rng = np.random.default_rng(0)
    build = BuildOptions(folded={"w": FoldedNorm("s", "o", "m", "v", 1e-5)})
    plain = {
        "w": rng.standard_normal((2, 3, 1, 1, 1), np.float32),
        "fc": np.ones(3, np.float32),
        **{
            name: np.array(pair, np.float32)
            for name, pair in (("s", (2, 3)), ("o", (0.5, 1)), ("m", (1, -1)), ("v", (4, 1)))
        },
    }
    found = build.folded_values(plain)
    np.testing.assert_allclose(found["w"], plain["w"] * np.reshape([1, 3], (2, 1, 1, 1, 1)), rtol=1e-5)
    np.testing.assert_allclose(found["o"], [-0.5, 4], rtol=1e-5)
    assert found["fc"] is plain["fc"] and {array.dtype for array in found.values()} == {np.dtype(np.float32)}


def test_larger_differences_are_warned_about_and_large_ones_refused(caplog):
    exporter.judge("TSN", 1e-6)
    assert not caplog.text
    exporter.judge("TSN", 1e-4)
    assert "differ by 1.0e-04 of the largest number" in caplog.text and "is the model trained?" in caplog.text
    for difference in (2e-3, np.nan):
        with pytest.raises(WeightsError, match="the exported TSN answers differently from the trained one"):
            exporter.judge("TSN", difference)


def test_another_interface_and_other_shapes_are_refused(whole, small, tmp_path):
    predictor = Predictor(exported=whole)
    with pytest.raises(
        ConfigError, match="was exported with --interface=uint8: it takes rgb uint8, audio uint8, not ready floats"
    ):
        predictor.run(networks.inputs(small.model, raw=False))
    exporter.export(small, tmp_path / "float", interface="float")
    with pytest.raises(
        ConfigError, match="--interface=float: it takes rgb float32, audio float32, not what readers deliver"
    ):
        Predictor(exported=tmp_path / "float").run(networks.inputs(small.model, raw=True))
    feed = {"rgb": np.zeros((1, 5, 1024), np.uint8), "audio": np.zeros((1, 5, 128), np.uint8)}
    with pytest.raises(DataError, match=r"'rgb' is uint8 \[1, 5, 1024\]; .* takes uint8 \[any, 4, 1024\]"):
        predictor.network.run(feed)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"overrides": {"MODEL.seg_num": 2}}, "MODEL.seg_num .*: that was fixed when"),
        ({"overrides": {"TRAIN.epoch": 2}}, "TRAIN.epoch .*: that was fixed when"),
        ({"overrides": {"INFER.batch_sise": 2}}, "did you mean 'batch_size'"),
        ({"name": "TSN"}, "is an exported 'AttentionCluster', but --model_name says 'TSN'"),
        ({"weights": "w.npz"}, "brings its own; leave out 'w.npz'"),
        ({"tensorrt": True, "use_gpu": False}, "--tensorrt needs a GPU"),
        ({"exported": None, "tensorrt": True, "name": "TSN"}, "is for exported models"),
        ({"engine": "executor"}, "--engine 'executor' is for weights"),
    ],
)
def test_arguments_that_do_not_fit(whole, arguments, message):
    with pytest.raises(ConfigError, match=message):
        Predictor(**{"exported": whole, **arguments})


def test_free_settings(whole):
    predictor = Predictor("attentioncluster", exported=str(whole), overrides={"INFER.batch_size": 7, "MODEL.topk": 4})
    assert predictor.config.INFER.batch_size == 7 and predictor.config.MODEL.topk == 4


def test_bfloat16(whole, small):
    """Close where the CPU has it, refused where not."""
    if not compat.bfloat16_available():
        with pytest.raises(ConfigError, match="needs a CPU that computes in bfloat16"):
            Predictor(exported=whole, precision="bf16", use_gpu=False)
        return
    given = networks.inputs(small.model, raw=True)
    exact, rough = (
        Predictor(exported=whole, precision=precision, use_gpu=False).run(given)["logits"]
        for precision in ("fp32", "bf16")
    )
    assert goldens.relative_error(rough, exact) < 0.05


def edited(folder, **changes):
    path = folder / sidecar.FILE
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def piped(path):
    """Reading it would never end."""
    path.unlink()
    os.mkfifo(path)


def sums(folder):
    return json.loads((folder / sidecar.FILE).read_text(encoding="utf-8"))["files"]


@pytest.mark.parametrize(
    "damage, message",
    [
        (shutil.rmtree, "is not an exported model: it holds no 'export.json'"),
        (lambda folder: (folder / "export.json").write_text("{"), "cannot be read: Expecting property name"),
        (lambda folder: (folder / "export.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda folder: (folder / "export.json").write_text("[]"), "damaged: content: "),
        (lambda folder: edited(folder, version=2), "has format version '2', this zoo reads '1'"),
        (lambda folder: edited(folder, format="tflite"), "damaged: format: "),
        (
            lambda folder: edited(folder, inputs=[{"name": "rgb", "shape": [-1], "dtype": "uint8"}]),
            "damaged: inputs.0.shape.0",
        ),
        (lambda folder: edited(folder, files={**sums(folder), "../other": "0" * 64}), "damaged: files"),
        (lambda folder: edited(folder, files={"model.onnx": "0" * 64}), "do not make a program of format 'paddle'"),
        (lambda folder: edited(folder, class_names=["one"]), "1 class names for 6 classes"),
        (lambda folder: (folder / "model.pdiparams").unlink(), "model.pdiparams' cannot be read"),
        (lambda folder: (folder / "export.json").write_text("[" * 100000), "cannot be read: it nests too deep"),
        (lambda folder: edited(folder, class_names=["\ud800"] * 6), "surrogates not allowed"),
        (lambda folder: piped(folder / "export.json"), "export.json' is a pipe or a device"),
        (lambda folder: piped(folder / "model.pdiparams"), "model.pdiparams' is a pipe or a device"),
        (
            lambda folder: (folder / "model.pdiparams").open("ab").write(b"x"),
            "model.pdiparams' is not the file that was exported",
        ),
    ],
)
def test_damaged_folders(folder, damage, message):
    damage(folder)
    with pytest.raises(WeightsError, match=message):
        Predictor(exported=folder)


def test_a_config_of_another_version(folder):
    config = json.loads((folder / sidecar.FILE).read_text(encoding="utf-8"))["config"]
    edited(folder, config={**config, "MODEL": {**config["MODEL"], "no_such_key": 1}})
    with pytest.raises(ConfigError, match="unknown key in MODEL 'no_such_key'"):
        Predictor(exported=folder)


def test_a_program_that_cannot_be_run(folder):
    program = next(name for name in sums(folder) if name in sidecar.PROGRAMS["paddle"])
    (folder / program).write_text("{}")
    edited(folder, files={**sums(folder), program: sidecar.checksum(folder / program)})
    with pytest.raises(WeightsError, match="cannot be run by this one: .*; export the model again with this Paddle"):
        Predictor(exported=folder)


def test_an_input_that_the_model_does_not_have(folder, small):
    predictor = Predictor(exported=folder)
    predictor.network.sidecar.inputs[0].name = "x"
    with pytest.raises(WeightsError, match="is damaged: it takes 'x', and a AttentionCluster"):
        predictor.run(networks.inputs(small.model, raw=True))


@networks.needs_onnx
@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_an_onnx_file_that_is_none(small, tmp_path, content):
    exporter.export(small, tmp_path / "model", form="onnx")
    path = tmp_path / "model" / "model.onnx"
    path.write_bytes(path.read_bytes()[:5000] if content is None else content)
    edited(tmp_path / "model", files={"model.onnx": sidecar.checksum(path)})
    with pytest.raises(WeightsError, match="model.onnx' cannot be run by this onnxruntime: .*; export the model again"):
        Predictor(exported=tmp_path / "model")


def test_a_file_of_the_folder_is_not_the_folder(whole):
    with pytest.raises(WeightsError, match="export.json' is a file; name the folder that it is in"):
        Predictor(exported=whole / "export.json")


def test_links_and_the_working_folder(small, tmp_path, monkeypatch):
    """What a link points to is replaced, not the link."""
    for folder in ("one", "two"):
        exporter.export(small, tmp_path / folder)
    (tmp_path / "link").symlink_to("one")
    exporter.export(small, tmp_path / "link", interface="float")
    monkeypatch.chdir(tmp_path / "two")
    exporter.export(small, ".", interface="float")
    assert (tmp_path / "link").is_symlink()
    assert [sidecar.read(tmp_path / folder).interface for folder in ("one", "two")] == ["float", "float"]


def test_an_export_that_answers_otherwise_leaves_the_earlier_one(small, folder):
    before = sums(folder)
    broken = networks.weights("AttentionCluster", networks.settings("AttentionCluster"))
    for name in broken:
        if name.startswith("logistic"):
            broken[name][...] = 3e38  # finite, as weights must be; sums of them are not
    other = load_model("AttentionCluster", None, broken, networks.settings("AttentionCluster"), use_gpu=False)
    with pytest.raises(
        WeightsError, match="not exported: the exported AttentionCluster answers differently .*, by (nan|inf)"
    ):
        exporter.export(other, folder)
    assert sums(folder) == before and [path.name for path in folder.parent.iterdir()] == [folder.name]
    exporter.export(small, folder, interface="float")
    assert sums(folder) != before and [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_folders_of_other_things_are_left_alone(small, tmp_path):
    (tmp_path / "thesis.txt").write_text("words")
    for target in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(ConfigError, match="holds other things than an exported model"):
            exporter.export(small, target)
    with pytest.raises(ConfigError, match="cannot be written: "):
        exporter.export(small, tmp_path / "thesis.txt" / "model")


class LogGamma(MODELS["AttentionCluster"]):
    def network(self, inputs, training):
        return paddle.lgamma(super().network(inputs, training) + 3.0)


@networks.needs_onnx
def test_an_operator_without_onnx_is_named(small, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "AttentionCluster", LogGamma)
    model = networks.trained("AttentionCluster")
    with pytest.raises(
        WeightsError, match=r"cannot be converted to ONNX \(operators that paddle2onnx may not know: lgamma; "
    ):
        exporter.export(model, tmp_path / "model", "onnx")
    assert not list(tmp_path.iterdir())
    exporter.export(model, tmp_path / "model")


def test_a_folder_whose_name_is_not_utf8(small, tmp_path):
    """Paddle cannot open such paths."""
    folder = tmp_path / os.fsdecode(b"m\xff\xfe")
    exporter.export(small, folder)
    exporter.export(small, folder)
    given = networks.inputs(small.model, raw=True)
    expected = small.run(small.model.interface(given)[1])[1]
    assert goldens.relative_error(Predictor(exported=folder).run(given)["logits"], expected) < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_an_interrupted_export_names_the_earlier_one(folder):
    folder.parent.joinpath(".model.x").mkdir()
    folder.rename(folder.parent / ".model.x" / "earlier")
    with pytest.raises(
        WeightsError, match="an export into it was interrupted, and the earlier one is '.*earlier': rename"
    ):
        Predictor(exported=folder)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_kill_at_the_switch_leaves_a_whole_export(whole, tmp_path):
    """The kill comes when the new export takes the old one's name."""
    folder = shutil.copytree(whole, tmp_path / "model")
    program = (
        "import sys; sys.path.insert(0, 'tests'); from support import networks; from engine.export import write; "
        "write.export(networks.trained('AttentionCluster'), sys.argv[1], interface='float')"
    )
    kill = ["strace", "-f", "-o", "/dev/null", "-e", "trace=renameat2,rename", "-e", "inject=renameat2:signal=KILL"]
    done = subprocess.run([*kill, sys.executable, "-c", program, folder], cwd=goldens.ROOT, timeout=300)
    assert done.returncode != 0
    assert sidecar.read(folder).interface in ("uint8", "float")
