"""The page of a training."""

import re

import pytest

from reports.pages import page, training
from support import pages, tiny

HISTORY = [
    {"epoch": i, "loss": 2.0 - i, "top1": 30.0 + i, "learning_rate": 0.1, "valid_loss": 2.5 - i, "valid_top1": 40.0 + i}
    for i in range(2)
]
BEST = {"key": "valid_top1", "value": 41.0, "epoch": 1}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    tiny.make_clips(folder, count=3)
    return sorted(folder.glob("*.mp4"))


def made(folder, **more):
    values = {"model": "TSN", "names": ["<a>", "b", "c"], "history": HISTORY, "best": BEST, **more}
    paths = training.write(folder, training.Training(**values), page.Facts(command="python train.py"))
    return pages.Page(paths[0])


def test_data_weights_and_differences_are_shown(tmp_path, clips):
    bad = [{"id": "broken <1>.mp4", "error": "no stream"}]
    samples = [
        training.Samples("training", "train.list", 3, [0, 1, 0], [*clips, "gone.mp4", "s3://b/x.mp4"], bad),
        training.Samples("validation", "val.list", 1, [1]),
    ]
    differences = [("TRAIN.epoch", 45, 2)]
    read = made(tmp_path, samples=samples, weights=["loaded 3 of <4>", "frozen"], differences=differences)
    assert read.table("list", "file") == [["training", "train.list", "3", "1"], ["validation", "val.list", "1", "0"]]
    assert [row[:3] for row in read.table("class", "training")] == [["c", "0", "0"], ["b", "1", "1"], ["<a>", "2", "0"]]
    assert read.table("sample", "reason") == [["broken <1>.mp4", "no stream"]]
    assert read.table("key", "recipe") == [["TRAIN.epoch", "45", "2"]]
    assert "loaded 3 of <4>\nfrozen" in read.text
    assert "3 training clips were opened: each has 12 frames" in read.text
    assert len(read.pictures) == 4 and "41.00 %" in read.text


def test_a_training_without_validation(tmp_path):
    history = [{"epoch": 0, "loss": 1.0, "gap": 0.25}]
    read = made(tmp_path, history=history, best={"key": "gap", "value": 0.25, "epoch": 0})
    assert re.search(r"best GAP\s*0.2500\s*training, epoch 0", read.text) and "test.py" not in read.text


def test_a_best_epoch_of_an_earlier_run_is_said(tmp_path):
    assert "What the best epoch, 1, predicted is not kept" in made(tmp_path).text
