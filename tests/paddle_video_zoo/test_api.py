"""The public functions: what they return, and errors that speak of arguments."""

from pathlib import Path

import numpy as np
import pytest

import paddle_video_zoo as zoo
from datareader.clips.video import probe, read_frames
from support import networks, tiny
from utils.errors import VideoError

SETTINGS = {key: value for key, value in tiny.TINY.items() if key != "MODEL.num_classes"} | {"MODEL.num_classes": 6}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips, and one that is broken."""
    folder = tmp_path_factory.mktemp("clips")
    tiny.make_clips(folder, count=2, name="{i}.mp4")
    (folder / "broken.mp4").write_bytes(b"no clip")
    return folder


@pytest.fixture(scope="module")
def predictor():
    return zoo.Predictor("tinynet", weights=networks.weights("TINYNET", SETTINGS), overrides=SETTINGS)


def test_a_call_gives_labels_and_scores(predictor, clips):
    expected = predictor.predict(clips / "0.mp4")
    found = predictor(clips / "0.mp4")
    assert [set(one) for one in found] == [{"label", "score"}] * 2  # MODEL.topk
    assert [one["label"] for one in found] == expected[0]["names"]
    assert [one["score"] for one in found] == expected[0]["probabilities"]
    assert predictor(str(clips / "0.mp4")) == found
    several = predictor([clips / "0.mp4", str(clips / "1.mp4")], topk=6)
    assert [len(one) for one in several] == [6, 6] and several[0][:2] == found
    assert predictor([]) == []


def test_a_call_takes_one_file_a_sample(predictor, clips):
    with pytest.raises(
        zoo.DataError, match=r"1 paths, first '.*', hold 3 samples; give one file a sample here, or use"
    ):
        predictor(clips)
    with pytest.raises(zoo.DataError, match=r"broken.mp4'.*; predict\(\) reports unreadable clips"):
        predictor([clips / "0.mp4", clips / "broken.mp4"])


def test_predict_takes_paths_of_any_kind(predictor, clips):
    """No paths once meant INFER.filelist."""
    assert predictor.predict([]) == []
    assert predictor.predict(iter([])) == []
    assert predictor.predict(clips / "0.mp4") == predictor.predict([str(clips / "0.mp4")])
    assert [Path(one["id"]).name for one in predictor.predict(clips)] == ["0.mp4", "1.mp4", "broken.mp4"]


def test_list_models():
    assert zoo.list_models("t*n") == ["TPN", "TSN"]
    assert zoo.list_models("nextvlad") == ["NEXTVLAD"] and zoo.list_models("no such") == []
    assert {"AttentionLSTM", "STNET"} <= set(zoo.list_models())


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda clips: zoo.Predictor(), "which model. give name, for example name=TSN"),
        (lambda clips: zoo.Predictor("TSM"), "unknown model 'TSM'"),
        (lambda clips: zoo.Predictor("TSN", tensorrt=True), "^tensorrt is for exported models"),
        (lambda clips: zoo.Predictor("TSN", engine="onnx", weights={}), "unknown engine 'onnx'"),
        (lambda clips: zoo.train("TINYNET", config=clips / "no.yaml"), "config '.*no.yaml' does not exist"),
        (
            lambda clips: zoo.train("TINYNET", save_dir=clips / "0.mp4"),
            "^save_dir '.*0.mp4' cannot be created as a folder",
        ),
        (
            lambda clips: zoo.export("TINYNET", weights=networks.weights("TINYNET", {}), save_dir=clips),
            "^save_dir '.*' is not a folder, or holds other things",
        ),
    ],
)
def test_errors_speak_of_arguments(call, message, clips):
    with pytest.raises(zoo.ZooError, match=message) as caught:
        call(clips)
    assert "--" not in str(caught.value)


def test_errors_of_predict_speak_of_arguments(predictor):
    with pytest.raises(zoo.DataError, match="^paths 'a --video_path b.mp4' does not exist"):  # the value stays as it is
        predictor.predict("a --video_path b.mp4")
    with pytest.raises(zoo.DataError, match="give paths with clips or a folder, or filelist with a list"):
        predictor.predict()


def test_an_unreadable_clip_keeps_its_kind_of_error(predictor, clips):
    assert issubclass(VideoError, zoo.DataError)
    assert "error" in predictor.predict(clips / "broken.mp4")[0]


def test_train_resume_and_evaluate(clips, tmp_path):
    settings = {**tiny.TINY, "TRAIN.seed": 3}
    lines = f"{clips / '0.mp4'} 0\n{clips / '1.mp4'} 1\n"
    (tmp_path / "clips.list").write_text(lines)
    given = {"filelist": tmp_path / "clips.list", "valid_filelist": tmp_path / "clips.list", "pretrain": "none"}
    training = zoo.train("tinynet", overrides=settings, save_dir=tmp_path / "out", **given)
    assert training.model == "TINYNET" and len(training.history) == 1 and training.best["epoch"] == 0
    more = zoo.train(resume=training.latest_weights, epochs=2, save_dir=tmp_path / "out", overrides={"MODEL.topk": 2})
    assert len(more.history) == 2 and more.history[0] == training.history[0]
    evaluation = zoo.evaluate(
        weights=more.best_weights, filelist=tmp_path / "clips.list", save_dir=tmp_path / "results", batch_size=1
    )
    assert evaluation.model == "TINYNET" and evaluation.unreadable == 0
    assert {"top1", "loss"} <= set(evaluation.scores)
    assert any((tmp_path / "results").iterdir())
    windows = list(zoo.Predictor(weights=more.best_weights).stream(clips / "0.mp4"))  # as long as the training clips
    assert len(windows) == 1 and windows[0].start == 0 and windows[0].probabilities.shape == (2,)


def test_a_timeline(predictor, clips):
    """Of a video and of the same frames from the caller's own iterator; errors speak of arguments."""
    found = predictor.timeline(clips / "0.mp4", window=0.2, stride=0.1)
    frames = read_frames(clips / "0.mp4", range)
    rate = probe(clips / "0.mp4").fps
    again = predictor.timeline(((i / rate, frame) for i, frame in enumerate(frames)), window=0.2, stride=0.1)
    np.testing.assert_allclose(found.scores, again.scores, atol=1e-6)
    assert [(s.start, s.name) for s in found.segments] == [(s.start, s.name) for s in again.segments]
    (whole,) = predictor.stream(clips / "0.mp4", window=60)
    clip = predictor.predict(clips / "0.mp4", topk=6)[0]
    np.testing.assert_allclose(whole.probabilities[clip["indices"]], clip["probabilities"], atol=1e-6)
    with pytest.raises(zoo.ConfigError, match="^stride '2' is longer than window '1'"):
        predictor.timeline(clips / "0.mp4", window=1, stride=2)
    with pytest.raises(zoo.ConfigError, match="^window 'auto' is the mean length"):
        predictor.stream(clips / "0.mp4")


def test_weights_that_overflow_are_an_error(clips, tmp_path):
    """Each weight is finite, but sums are not: the results had NaN, which is not valid JSON."""
    weights = networks.weights("TINYNET", SETTINGS)
    weights = {name: np.full_like(array, 3e38) if array.ndim == 2 else array for name, array in weights.items()}
    predictor = zoo.Predictor("tinynet", weights=weights, overrides=SETTINGS)
    with pytest.raises(zoo.WeightsError, match="scores are not finite numbers: its weights are too large"):
        predictor.predict(clips / "0.mp4")
    (tmp_path / "clips.list").write_text(f"{clips / '0.mp4'} 0\n")
    given = {"filelist": tmp_path / "clips.list", "save_dir": tmp_path / "out", "overrides": SETTINGS}
    with pytest.raises(zoo.WeightsError, match="scores are not finite numbers"):
        zoo.evaluate("tinynet", weights=weights, **given)
