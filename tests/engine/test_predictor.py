"""The class people embed: its signature, any input shape, paths in and named results out."""

import numpy as np
import pytest

from engine import Predictor
from support import goldens, tiny
from utils.errors import DataError, WeightsError


@pytest.fixture(scope="module", params=["TSN", "STNET"])
def predictor(request):
    """The full-size model with the goldens' weights, built as the README shows."""
    overrides = {"MODEL.seg_num": 3, "INFER.short_size": 128, "INFER.target_size": 112}
    config = f"configs/{request.param.lower()}.yaml"
    return Predictor(request.param, config=config, weights=goldens.parameters(request.param), overrides=overrides)


def test_run_meets_the_golden(predictor):
    name = predictor.model.name
    case = goldens.cases(name, "test")[0]
    data = goldens.numbers(name, case)
    image = goldens.make_input(name, case, "image", data["input_image_shape"])
    result = predictor.run({"image": image})
    assert result["logits"].dtype == result["probabilities"].dtype == np.float32
    assert goldens.relative_error(result["logits"], data["logits_f64"]) < 2e-5
    assert goldens.relative_error(result["probabilities"], data["prob_f64"]) < 2e-5


def test_run_takes_other_sizes_and_segment_counts(predictor):
    channels = 3 * predictor.config.MODEL.seglen
    assert predictor.run({"image": np.zeros((1, 2, channels, 64, 96), np.float32)})["logits"].shape == (1, 400)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"picture": np.zeros((1, 3, 3, 8, 8))}, "expected one input 'image' or 'frames', found 'picture'"),
        ({"image": np.zeros((3, 3, 8, 8))}, r"has shape \[3, 3, 8, 8\]; expected \[batch, seg_num"),
        ({"image": np.zeros((1, 3, 4, 8, 8))}, r"has shape \[1, 3, 4, 8, 8\]"),
    ],
)
def test_wrong_inputs(predictor, inputs, message):
    with pytest.raises(DataError, match=message):
        predictor.run(inputs)


def test_predict_equals_run_on_the_same_frames(predictor, tmp_path):
    """The uint8 path, normalised in the graph, gives what the float interface gives."""
    tiny.make_clips(tmp_path, count=2)
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    results = predictor.predict([tmp_path], topk=400)
    assert [("error" in result) for result in results] == [True, False, False]
    model = predictor.config.MODEL
    from datareader import ClipDataset, lists

    frames = ClipDataset(predictor.config, "infer", lists.find_clips([tmp_path])).read(1, 0)[0]
    image = (frames / 255.0 - model.image_mean) / model.image_std  # [T, H, W, 3]
    image = image.transpose(0, 3, 1, 2).reshape(1, 3, 3 * model.seglen, 112, 112)
    expected = predictor.run({"image": image})["probabilities"][0]
    np.testing.assert_allclose(
        np.array(results[1]["probabilities"]), expected[results[1]["indices"]], rtol=1e-4, atol=1e-6
    )
    assert results[1]["names"][0] == predictor.names[results[1]["indices"][0]]


def test_weights_that_do_not_fit():
    with pytest.raises(WeightsError, match="none of their 1 tensors"):
        Predictor("TSN", weights={"w": np.zeros(3)})
