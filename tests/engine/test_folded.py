"""The folded program in paddle.inference answers as the plain executor, in prediction and in evaluation."""

import numpy as np
import pytest

from engine import Predictor, evaluator
from engine.configuration import configure
from engine.graph import compat
from engine.predictor import load_model
from models import MODELS
from support import goldens, networks, tiny
from utils.errors import ConfigError

SETTINGS = {**tiny.TINY, "MODEL.num_classes": 6}


@pytest.fixture(scope="module")
def weights():
    return networks.weights("TINYNET", SETTINGS)


@pytest.mark.parametrize("name", ["TINYNET", "AttentionCluster"])
def test_answers_as_the_executor(name):
    settings = networks.settings(name)
    given = networks.weights(name, settings)
    plain, folded = (load_model(name, None, given, settings, False, engine) for engine in ("executor", "inference"))
    raw = networks.inputs(plain.model, raw=True)
    ready = networks.inputs(plain.model, raw=False)
    for inputs in (raw, ready):  # two programs of the same parameters
        shape, feed = plain.model.interface(inputs)
        for found, expected in zip(folded.run(feed, **shape), plain.run(feed, **shape), strict=True):
            assert goldens.relative_error(found, expected) < 1e-5
    assert plain.choice is None and folded.choice.onednn


@pytest.mark.parametrize("num_clips", [1, 3])
def test_an_evaluation_gives_the_same_scores(num_clips, weights, tmp_path):
    path = tiny.make_clips(tmp_path, count=3, name="{i}.mp4")
    overrides = {**SETTINGS, **tiny.lists(path), "TEST.num_clips": num_clips}
    model, config = configure("TINYNET", None, overrides)
    found = {}
    for engine in ("executor", "inference", "auto"):
        found[engine], unreadable = evaluator.test(model, config, weights, False, 0, tmp_path / engine, engine=engine)
        assert not unreadable
    for key, value in found["executor"].items():
        if isinstance(value, float):
            assert found["inference"][key] == pytest.approx(value, rel=1e-5) == found["auto"][key], key


def test_which_engine_auto_is(weights):
    used = {}
    for name in ("TINYNET", "AttentionLSTM"):
        overrides = networks.settings(name)
        predictor = Predictor(name, weights=networks.weights(name, overrides), overrides=overrides, use_gpu=False)
        used[name] = predictor.network.choice is not None
    assert used == {"TINYNET": compat.PIR, "AttentionLSTM": False}
    assert {"TSN", "STNET", "TPN"} <= set(MODELS)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"engine": "tensorrt"}, "unknown engine 'tensorrt'.* known: auto, executor, inference"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"engine": "executor", "precision": "bf16"}, "--precision 'bf16' needs a CPU, paddle.inference"),
    ],
)
def test_what_does_not_exist(arguments, message, weights):
    with pytest.raises(ConfigError, match=message):
        Predictor("TINYNET", weights=weights, overrides=SETTINGS, use_gpu=False, **arguments)


@pytest.mark.skipif(not compat.bfloat16_available(), reason="this CPU has no bfloat16 instructions")
def test_bfloat16_is_close(weights):
    frames = {"frames": np.random.default_rng(0).integers(0, 256, (2, 2, 32, 32, 3), np.uint8)}
    exact, rough = (
        Predictor("TINYNET", weights=weights, overrides=SETTINGS, use_gpu=False, precision=precision).run(frames)
        for precision in ("auto", "bf16")
    )
    assert 0 < goldens.relative_error(rough["logits"], exact["logits"]) < 0.05
