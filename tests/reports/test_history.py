"""What a training leaves while it runs: each epoch once, whole lines, and no end of a training because of it."""

import json
import logging

import numpy as np
import pytest

from reports import curves
from reports.history import Journal
from storage.tables import read_csv
from utils.errors import ConfigError

BEST = {"key": "valid_top1", "value": 70.0, "epoch": 1}


def row(epoch, **more):
    return {"epoch": epoch, "loss": 1.5, "top1": 50.0, "samples_per_second": 9.0, "data_share": 0.1, "step": 2, **more}


def line(step):
    return {"epoch": step // 4, "batch": step % 4, "step": step, "loss": 1.0}


def read(folder):
    return [json.loads(each) for each in (folder / "TSN_log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_row_an_epoch_in_order(tmp_path):
    journal = Journal(tmp_path, "TSN")
    journal.start(0, [])
    history = [row(0), row(1, valid_loss=2.0, valid_top1=70.0, learning_rate=0.1)]
    for count in (1, 2):
        journal.epoch(history[:count], BEST)
    rows = read_csv(tmp_path / "TSN_results.csv")
    assert [each["epoch"] for each in rows] == ["0", "1"]
    assert list(rows[0]) == [
        *("epoch", "step", "lr", "loss", "top1", "valid_loss", "valid_top1", "samples_per_second", "data_share")
    ]
    assert rows[0]["valid_top1"] == "" and rows[1]["valid_top1"] == "70.0"
    assert (tmp_path / "TSN_results.png").read_bytes().startswith(b"\x89PNG")


def test_resuming_continues_without_a_gap_or_a_double_line(tmp_path):
    """Regression: a killed run has logged steps that its last checkpoint does not know, and half a line."""
    journal = Journal(tmp_path, "TSN")
    journal.start(0, [])
    for step in range(7):
        journal.line(line(step))
    with open(tmp_path / "TSN_log.jsonl", "a", encoding="utf-8") as file:
        file.write('{"epoch": 1, "st')
    journal = Journal(tmp_path, "TSN")
    journal.start(4, [])
    for step in range(4, 9):
        journal.line(line(step))
    assert [each["step"] for each in read(tmp_path)] == list(range(9))


def test_a_new_training_starts_a_new_file(tmp_path):
    (tmp_path / "TSN_log.jsonl").write_text('{"step": 0}\n', encoding="utf-8")
    journal = Journal(tmp_path, "TSN")
    journal.start(0, [])
    assert read(tmp_path) == []


@pytest.mark.parametrize("junk", ["[1]\n", "\x00\n", '{"step": "1"}\n', "[" * 5000 + "\n"])
def test_lines_of_others_are_dropped(tmp_path, junk):
    (tmp_path / "TSN_log.jsonl").write_text('{"step": 0}\n' + junk, encoding="utf-8")
    Journal(tmp_path, "TSN").start(3, [])
    assert read(tmp_path) == [{"step": 0}]


def test_a_folder_that_is_gone_ends_nothing_and_is_said_once(tmp_path):
    journal, said, handler = Journal(tmp_path / "file" / "x", "TSN"), [], logging.Handler()
    (tmp_path / "file").write_text("")
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("zoo").addHandler(handler)
    journal.start(0, [])
    for step in range(3):
        journal.line(line(step))
    journal.epoch([row(0, valid_top1=1.0)], None)
    logging.getLogger("zoo").removeHandler(handler)
    assert len(said) == 1 and "log file of values" in said[0]


@pytest.mark.parametrize("history", [[row(0)], [row(0, loss=5000.0), row(1, gap=0.5)], [{"epoch": 0, "loss": 0.0}]])
def test_curves_of_little(history):
    for png in (curves.overview(history), *curves.panels(history, BEST).values()):
        assert png.startswith(b"\x89PNG")


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboardX")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for first, until in ((0, 6), (4, 8)):  # the second run resumes after step 4
        journal = Journal(tmp_path / "run", "TSN", tmp_path / "board")
        journal.start(first, [])
        for step in range(first, until):
            journal.line(line(step))
        journal.epoch([row(0, step=until, valid_top1=70.0)], BEST)
        journal.close()
    events = reader.EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "valid/top1"}
    assert [event.step for event in events.Scalars("train/loss")] == list(range(8))
    assert [event.value for event in events.Scalars("valid/top1")][-1] == 70.0


def test_visualdl_reads_what_was_written(tmp_path):
    visualdl = pytest.importorskip("visualdl")
    journal = Journal(tmp_path / "run", "TSN", tmp_path / "board")
    journal.start(0, [])
    journal.line(line(3))
    journal.validated(lambda: {"confusion_matrix": np.full((4, 6, 3), 200, np.uint8)}, 4)
    journal.close()
    (file,) = (tmp_path / "board" / "visualdl").iterdir()
    (record,) = visualdl.LogReader(file_path=str(file)).get_data("scalar", "train/loss")
    assert record.id == 3 and record.value == 1.0
    (picture,) = visualdl.LogReader(file_path=str(file)).get_data("image", "valid/confusion_matrix")
    assert picture.id == 4 and picture.image.encoded_image_string.startswith(b"\x89PNG")


def test_a_log_dir_that_is_an_address_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="s3://bucket/board.*local folder"):
        Journal(tmp_path, "TSN", "s3://bucket/board")
