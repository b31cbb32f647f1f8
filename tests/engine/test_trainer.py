"""The training loop: what is saved when, which epoch is the best, and that stopping anywhere loses nothing."""

import json
import logging
import os
import shutil
import signal

import numpy as np
import pytest

from engine.checkpoints import files
from engine.checkpoints.manager import best_of
from engine.configuration import configure
from engine.reporting.opening import announce
from engine.stop import Interrupted
from engine.trainer import Trainer
from storage.locks import locked
from support import tiny
from utils.errors import ConfigError, TrainingError, ZooError

SPEED = ("data_share", "samples_per_second", "seconds_per_step", "seconds")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return tiny.make_clips(tmp_path_factory.mktemp("clips"), count=8)


def trainer(clips, folder, validate=True, resume=None, patience=0, keep=0, **overrides):
    """A started Trainer of 4 steps an epoch, in all cases from the same seed."""
    lists = tiny.lists(clips) if validate else {"TRAIN.filelist": str(clips)}
    settings = {**tiny.TINY, **lists, "TRAIN.epoch": 2, "TRAIN.seed": 7, **overrides}
    model, config = configure("TINYNET", None, {key: str(value) for key, value in settings.items()})
    found = Trainer(
        model,
        config,
        folder,
        log_interval=1,
        valid_interval=1 if validate else 0,
        patience=patience,
        keep_checkpoints=keep,
        pages=False,
    )
    found.start("none", resume)
    return found


class OnLine(logging.Handler):
    """Sends this process SIGINT `times` times when a log line holds `text`."""

    def __init__(self, text, times=1):
        super().__init__()
        self.text, self.times = text, times

    def emit(self, record):
        if self.text in record.getMessage():
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)

    def __enter__(self):
        logging.getLogger("zoo").addHandler(self)
        logging.getLogger("zoo").setLevel(logging.INFO)

    def __exit__(self, *_):
        logging.getLogger("zoo").removeHandler(self)


def without_speed(history):
    return [{key: value for key, value in row.items() if key not in SPEED} for row in history]


def state(folder, name):
    return json.loads((folder / f"TINYNET_{name}.json").read_text(encoding="utf-8"))


def same_values(one, other):
    for first, second in zip(files.load(one)[:2], files.load(other)[:2], strict=True):
        assert set(first) == set(second) and first
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    """(folder, history) of two epochs without any interruption."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, trainer(clips, folder).fit()


def test_rows_of_the_history(whole):
    folder, history = whole
    assert [row["epoch"] for row in history] == [0, 1]
    assert {"loss", "top1", "valid_loss", "valid_top1", "learning_rate", *SPEED} <= set(history[0])
    for name in ("epoch1", "latest"):
        saved = state(folder, name)
        assert saved["history"] == history and (saved["epoch"], saved["batch"], saved["step"]) == (2, 0, 8)
        assert saved["best"] == best_of(history, "valid_top1") and saved["extractor"] is None
    assert state(folder, "best")["epoch"] == saved["best"]["epoch"] + 1


def test_a_stop_within_validation_keeps_the_epoch_and_validates_it_when_resumed(whole, clips, tmp_path):
    with OnLine("[TEST] test_iter 0"), pytest.raises(Interrupted):
        trainer(clips, tmp_path).fit()
    saved = state(tmp_path, "latest")
    assert (saved["epoch"], saved["batch"], len(saved["history"])) == (1, 0, 1)
    assert "valid_top1" not in saved["history"][0] and saved["best"] is None
    assert not (tmp_path / "TINYNET_best.json").exists()
    history = trainer(clips, tmp_path, resume=tmp_path).fit()
    assert without_speed(history) == without_speed(whole[1])
    assert state(tmp_path, "best")["epoch"] == state(whole[0], "best")["epoch"]
    same_values(tmp_path / "TINYNET_latest", whole[0] / "TINYNET_latest")
    same_values(tmp_path / "TINYNET_best", whole[0] / "TINYNET_best")


def test_a_second_ctrl_c_within_validation_does_not_lose_the_epoch(clips, tmp_path):
    with OnLine("[TEST] test_iter 0", times=2), pytest.raises(KeyboardInterrupt):
        trainer(clips, tmp_path).fit()
    assert state(tmp_path, "epoch0")["epoch"] == state(tmp_path, "latest")["epoch"] == 1


@pytest.mark.parametrize("line", ["Epoch 1, iter 1", "Epoch 1, iter 3"])
def test_the_history_of_an_interrupted_epoch_covers_all_of_it(whole, clips, tmp_path, line):
    """At its last step too: then nothing is left to train, and the epoch is closed when training goes on."""
    with OnLine(line), pytest.raises(Interrupted):
        trainer(clips, tmp_path).fit()
    saved = state(tmp_path, "latest")
    assert saved["epoch"] == 1 and saved["batch"] == int(line[-1]) + 1 and len(saved["history"]) == 1
    resumed = trainer(clips, tmp_path, resume=tmp_path)
    history = resumed.fit()
    assert without_speed(history) == without_speed(whole[1])
    assert history[1]["seconds_per_step"] > 0
    same_values(tmp_path / "TINYNET_latest", whole[0] / "TINYNET_latest")


def test_only_equal_keys_are_compared():
    history = [
        {"epoch": 0, "top1": 95.0},
        {"epoch": 1, "top1": 96.0, "valid_top1": 60.0},
        {"epoch": 2, "top1": 97.0, "valid_top1": float("nan")},
        {"epoch": 3, "top1": 97.0, "valid_top1": 60.0},
    ]
    assert best_of(history, "valid_top1") == {"key": "valid_top1", "value": 60.0, "epoch": 1}
    assert best_of(history, "top1")["epoch"] == 2 and best_of(history[:1], "valid_top1") is None


def test_best_after_training_without_validation_is_chosen_by_validation_alone(clips, tmp_path):
    """The training accuracy of an earlier epoch does not keep a validated epoch from being the best, nor uses up
    patience.
    """
    trainer(clips, tmp_path, validate=False, **{"TRAIN.epoch": 1}).fit()
    saved = state(tmp_path, "epoch0")
    assert saved["best"]["key"] == "top1"
    saved["history"][0]["top1"] = saved["best"]["value"] = 100.0
    files.rewrite(tmp_path / "TINYNET_latest", saved)
    history = trainer(clips, tmp_path, resume=tmp_path, patience=1, **{"TRAIN.epoch": 3}).fit()
    assert len(history) >= 2 and all("valid_top1" in row for row in history)
    assert state(tmp_path, "best")["best"] == best_of(history, "valid_top1")


def test_training_scores_do_not_replace_a_validated_best(whole, clips, tmp_path):
    before = state(whole[0], "latest")["best"]
    resumed = trainer(clips, tmp_path, validate=False, resume=whole[0], **{"TRAIN.epoch": 3})
    resumed.fit()
    assert resumed.best == before and not (tmp_path / "TINYNET_best.json").exists()


def test_patience(clips, tmp_path):
    """At a rate that changes nothing no later validation is better."""
    stopped = trainer(clips, tmp_path, patience=2, **{"TRAIN.epoch": 9, "TRAIN.learning_rate": 1e-30})
    history = stopped.fit()
    assert stopped.best["epoch"] + 2 == history[-1]["epoch"] < 8
    with pytest.raises(ConfigError, match="--patience '2' needs validation scores"):
        trainer(clips, tmp_path, validate=False, patience=2)


def test_parameters_that_are_not_finite_are_never_saved(clips, tmp_path):
    """They would replace the only good checkpoint: one step an epoch, whose loss is still finite."""
    one_step = {"TRAIN.batch_size": 8, "TRAIN.epoch": 1}
    trainer(clips, tmp_path, keep=1, **one_step).fit()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pd*")}
    broken = {**one_step, "TRAIN.epoch": 2, "TRAIN.learning_rate": 1e41}
    with pytest.raises(TrainingError, match="no longer finite .*nothing was saved: lower TRAIN.learning_rate"):
        trainer(clips, tmp_path, keep=1, resume=tmp_path, **broken).fit()
    assert before and {path.name: path.read_bytes() for path in tmp_path.glob("*.pd*")} == before


def test_an_epoch_that_cannot_be_scored_replaces_no_earlier_one(clips, tmp_path):
    """Its parameters are finite, and so large that no answer is."""
    one_step = {"TRAIN.batch_size": 8, "TRAIN.epoch": 1}
    trainer(clips, tmp_path, keep=1, **one_step).fit()
    huge = {**one_step, "TRAIN.epoch": 2, "TRAIN.learning_rate": 1e39}
    with pytest.raises(ZooError, match="scores are not finite"):
        trainer(clips, tmp_path, keep=1, resume=tmp_path, **huge).fit()
    assert state(tmp_path, "epoch0")["best"] == state(tmp_path, "best")["best"]


def test_only_the_newest_epochs_are_kept(clips, tmp_path):
    trainer(clips, tmp_path, keep=1, **{"TRAIN.epoch": 3}).fit()
    assert sorted(path.name for path in tmp_path.glob("*.json")) == [
        "TINYNET_best.json",
        "TINYNET_epoch2.json",
        "TINYNET_latest.json",
    ]


def test_two_trainings_do_not_share_a_folder(clips, tmp_path):
    """Each removed, overwrote or mixed what the other had saved."""
    with locked(tmp_path, "TINYNET_train"):
        with pytest.raises(
            ConfigError, match="is being written to by .*process .*; wait until it ends, or name another"
        ):
            trainer(clips, tmp_path)
        with pytest.raises(ConfigError, match="is being written to by"):
            announce(configure("TINYNET")[1], "train", tmp_path)
    assert not list(tmp_path.iterdir())  # it wrote its config.yaml before it was refused
    trainer(clips, tmp_path, **{"TRAIN.epoch": 1}).fit()
    assert not list(tmp_path.glob(".*"))


def test_what_a_dead_training_left_is_removed_and_a_stale_best_renewed(whole, clips, tmp_path):
    """It died after `_latest` was written and before `_best` was."""
    for path in whole[0].glob("TINYNET_epoch0.*"):
        for name in ("latest", "epoch0"):
            shutil.copy(path, tmp_path / f"TINYNET_{name}{path.suffix}")
    row = {key: value for key, value in whole[1][0].items() if not key.startswith("valid_")}
    for name in ("latest", "epoch0"):
        files.rewrite(tmp_path / f"TINYNET_{name}", {**state(tmp_path, name), "best": None, "history": [row]})
    (tmp_path / ".TINYNET_best.0123456789abcdef").mkdir()
    (tmp_path / ".TINYNET_best.0123456789abcdef" / "TINYNET_best.pdparams").write_bytes(b"half")
    history = trainer(clips, tmp_path, resume=tmp_path).fit()
    assert without_speed(history) == without_speed(whole[1]) and not list(tmp_path.glob(".*"))
    for name in ("latest", "best"):
        same_values(tmp_path / f"TINYNET_{name}", whole[0] / f"TINYNET_{name}")


def test_a_training_goes_on_from_an_unfinished_first_latest(whole, clips, tmp_path):
    """ "several weights in it" was said of a folder whose first `_latest` was never finished."""
    for path in whole[0].glob("TINYNET_epoch0.*"):
        shutil.copy(path, tmp_path / path.name)
    assert without_speed(trainer(clips, tmp_path, resume=tmp_path).fit()) == without_speed(whole[1])


def test_a_path_that_no_checkpoint_can_hold_is_refused_at_the_start(clips, tmp_path):
    (tmp_path / "list\udc80.txt").write_bytes(
        clips.read_bytes().replace(b"clip ", os.fsencode(clips.parent) + b"/clip ")
    )
    with pytest.raises(ConfigError, match="not UTF-8|cannot be"):
        trainer(clips, tmp_path / "out", **{"TRAIN.filelist": tmp_path / "list\udc80.txt"})
