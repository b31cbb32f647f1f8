"""What a training leaves for people: its journal, the validation of its best epoch, its page."""

import re
import signal

import pytest

from engine.configuration import configure
from engine.stop import Interrupted
from engine.trainer import Trainer
from storage.tables import read_csv
from support import pages, tiny


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    found = tiny.make_clips(folder, count=8)
    (folder / "clip 3 (é).mp4").write_bytes(b"no video")
    return found


def train(clips, folder, epochs, resume=None, kind=Trainer, **more):
    """A finished Trainer at a rate that changes nothing, so that the first epoch is the best."""
    settings = {**tiny.TINY, **tiny.lists(clips), "TRAIN.epoch": epochs, "TRAIN.seed": 7, "TRAIN.learning_rate": 1e-30}
    model, config = configure("TINYNET", None, {key: str(value) for key, value in settings.items()})
    found = kind(model, config, folder, log_interval=1, **more)
    found.start("none", resume)
    found.fit()
    return found


def test_the_page_of_a_training_and_of_its_continuation(clips, tmp_path):
    trained = train(clips, tmp_path, 1)
    first = pages.Page(tmp_path / "TINYNET_train_report.html")
    assert "Validation of epoch 0, the best" in first.text and f"{trained.best['value']:.2f} %" in first.text
    trained = train(clips, tmp_path, 2, resume=tmp_path)
    assert trained.best["epoch"] == 0
    read = pages.Page(tmp_path / "TINYNET_train_report.html")
    assert "TINYNET: 2 epochs" in read.text and "Validation of epoch 0, the best" in read.text
    assert read.table("class", "clips") == first.table("class", "clips")
    assert [row[0] for row in read.table("list", "file")] == ["training", "validation"]
    assert {row[0] for row in read.table("sample", "reason")} == {"clip 3 (é).mp4"}
    assert "loaded" in read.text and ["TRAIN.learning_rate", "0.01", "1e-30"] in read.table("key", "recipe")
    rows = read_csv(tmp_path / "TINYNET_results.csv")
    assert [(row["epoch"], row["step"]) for row in rows] == [("0", "4"), ("1", "8")]
    assert all(float(row["lr"]) > 0 and float(row["seconds"]) > 0 for row in rows)
    for name in ("results.png", "valid_confusion_matrix.png"):
        assert (tmp_path / f"TINYNET_{name}").read_bytes().startswith(b"\x89PNG")


def test_what_another_training_left_is_not_taken_for_ones_own(clips, tmp_path):
    """The folder holds the best validation of an earlier training; this one validates nothing."""
    train(clips, tmp_path, 1)
    train(clips, tmp_path, 1, valid_interval=0)
    read = pages.Page(tmp_path / "TINYNET_train_report.html")
    assert "Validation of epoch" not in read.text and re.search(r"best top-1\s*[0-9.]+ %\s*training", read.text)


def test_an_interrupted_training_has_a_page_of_its_whole_epochs(clips, tmp_path):
    class Impatient(Trainer):
        def train_epoch(self, stop):
            if self.epoch == 1:
                signal.raise_signal(signal.SIGINT)
            super().train_epoch(stop)

    with pytest.raises(Interrupted):
        train(clips, tmp_path, 3, kind=Impatient)
    read = pages.Page(tmp_path / "TINYNET_train_report.html")
    assert "TINYNET: 1 epoch" in read.text and "Validation of epoch 0, the best" in read.text


def test_dashboards_get_pictures_of_each_validation(clips, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(clips, tmp_path / "run", 2, log_dir=tmp_path / "board")
    events = reader.EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    names = {"confusion_matrix", "confusion_matrix_normalized", "calibration", "worst_mistakes"}
    assert set(events.Tags()["images"]) == {f"valid/{name}" for name in names}
    assert [event.step for event in events.Images("valid/worst_mistakes")] == [4, 8]
    assert events.Images("valid/worst_mistakes")[0].encoded_image_string.startswith(b"\x89PNG")


def test_no_report(clips, tmp_path):
    train(clips, tmp_path, 1, pages=False)
    left = {path.name for path in tmp_path.iterdir()}
    assert {"TINYNET_results.csv", "TINYNET_log.jsonl"} <= left
    assert not [name for name in left if name.endswith((".html", ".png", ".npz"))]
