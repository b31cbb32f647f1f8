"""Exports in 8 bits: weights become int8, the answers stay, and an export that changes them is not written."""

import logging

import numpy as np
import pytest

from engine import Predictor
from engine.export import sidecar
from engine.export import write as exporter
from engine.export.quantise import Quantisation
from engine.export.run import ExportedModel, describe
from engine.predictor import load_model
from support import networks, tiny
from utils.errors import ConfigError, DataError, WeightsError

pytestmark = networks.needs_onnx

SETTINGS = {**networks.settings("TINYNET"), "MODEL.num_classes": 3}


@pytest.fixture(scope="module")
def filelist(tmp_path_factory):
    """Five clips, of which one cannot be read."""
    folder = tmp_path_factory.mktemp("clips")
    tiny.make_clips(folder)
    (folder / "broken.mp4").write_bytes(b"no clip")
    names = sorted(path.name for path in folder.glob("*.mp4"))
    (folder / "all.list").write_text("".join(f"{name} 0\n" for name in names), encoding="utf-8")
    return folder / "all.list"


def model(change=lambda values: values):
    values = change(networks.weights("TINYNET", SETTINGS))
    return load_model("TINYNET", None, values, SETTINGS, use_gpu=False)


def test_weights_of_8_bits_give_the_same_classes(filelist, tmp_path, caplog):
    import onnx

    caplog.set_level(logging.INFO, "zoo")
    trained = model()
    exporter.export(trained, tmp_path / "m", "onnx", int8=Quantisation(str(filelist), 0.75))
    assert "the same best class for" in caplog.text and "of 4 clips" in caplog.text
    assert caplog.text.count("not calibrated or compared on: ") == 1 and "broken.mp4" in caplog.text
    program = onnx.load(tmp_path / "m" / "model.onnx")
    kinds = {value.name: value.data_type for value in program.graph.initializer if value.dims and len(value.dims) == 4}
    assert set(kinds.values()) == {onnx.TensorProto.INT8} and len(kinds) == 2  # both convolutions
    clip = next(filelist.parent.glob("clip*.mp4"))
    found, exact = (one(clip, topk=3) for one in (Predictor(exported=tmp_path / "m"), Predictor.of(trained)))
    assert [row["label"] for row in found] == [row["label"] for row in exact]
    difference = max(abs(one["score"] - other["score"]) for one, other in zip(found, exact, strict=True))
    assert 1e-6 < difference < 0.05  # of 8 bits, and no more
    assert sidecar.read(tmp_path / "m").precision == "int8"
    assert [path.name for path in sorted((tmp_path / "m").iterdir())] == ["export.json", "model.onnx"]


def test_other_answers_are_not_written(filelist, tmp_path):
    """Classes that differ by less than a step of 8 bits cannot stay apart."""

    def close(values):
        same = np.repeat(values["fc_0.w_0"][:, :1], 3, axis=1)
        return {**values, "fc_0.w_0": same, "fc_0.b_0": np.array([0, 0, 1e-4], np.float32)}

    with pytest.raises(WeightsError, match="in 8 bits only .* keep their best class, expected --min_agreement '1.0'"):
        exporter.export(model(close), tmp_path / "m", "onnx", int8=Quantisation(str(filelist), 1.0))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_quantised(filelist, tmp_path):
    wanted = Quantisation(str(filelist))
    with pytest.raises(ConfigError, match="--int8 is for --format=onnx"):
        exporter.export(model(), tmp_path / "m", "paddle", int8=wanted)
    with pytest.raises(ConfigError, match="--int8 is for models on clips, and 'AttentionCluster' reads features"):
        exporter.export(networks.trained("AttentionCluster"), tmp_path / "m", "onnx", int8=wanted)
    nothing = tmp_path / "nothing.list"
    nothing.write_text(f"{filelist.parent / 'broken.mp4'} 0\n", encoding="utf-8")
    with pytest.raises(DataError, match="no clip of '.*nothing.list' can be read: .*broken.mp4"):
        exporter.export(model(), tmp_path / "m", "onnx", int8=Quantisation(str(nothing)))
    assert [path.name for path in tmp_path.iterdir()] == ["nothing.list"]


def test_providers(filelist, tmp_path, caplog):
    caplog.set_level(logging.INFO, "zoo")
    exporter.export(model(), tmp_path / "m", "onnx")
    description = describe(tmp_path / "m")
    ExportedModel(tmp_path / "m", description, providers=["cpu"])
    assert "onnxruntime runs the model on CPUExecutionProvider" in caplog.text
    with pytest.raises(ConfigError, match="--providers 'abacus': this onnxruntime has cpu"):
        ExportedModel(tmp_path / "m", description, providers=["abacus", "cpu"])
