"""Drivers start themselves once a device: the processes share the work, end together, and leave nothing behind."""

import json
import signal

import pytest

from engine.distributed import spawn
from support import drivers, launcher, tiny
from utils.errors import ConfigError


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    clips = tiny.make_clips(folder / "clips", count=8)
    return [
        "--model_name=TINYNET",
        "--devices=cpu:2",
        "--no_report",
        *tiny.flags({**tiny.TINY, **tiny.lists(clips), "TRAIN.seed": 3}),
    ]


def start(program, words, *more):
    return drivers.start(program, *words, *more, start_new_session=True)


def test_two_processes_train_and_test(words, tmp_path):
    process = start("train.py", words, f"--save_dir={tmp_path}", "--valid_interval=0")
    output = launcher.done(process)
    assert "starting 2 processes, all on the CPU" in output and "2 processes, each with its part" in output
    assert json.loads((tmp_path / "TINYNET_epoch0.json").read_text(encoding="utf-8"))["step"] == 4
    assert (tmp_path / "log" / "workerlog.1").exists()
    process = start("test.py", words, f"--weights={tmp_path}", f"--save_dir={tmp_path / 'results'}")
    assert "scored 8 of 8" in launcher.done(process)


def test_a_failure_is_said_and_is_the_status(words, tmp_path):
    bad = start("train.py", words, f"--save_dir={tmp_path}", "-o", "TRAIN.filelist=none.list")
    uneven = start("train.py", words, f"--save_dir={tmp_path}", "-o", "TRAIN.batch_size=3")
    status, output = launcher.finish(bad)
    assert status == 2 and "'none.list' does not exist" in output
    status, output = launcher.finish(uneven)
    assert status == 2 and "the nearest sizes are 2 and 4" in output and "starting" not in output


def test_signals_are_passed_on_and_nobody_is_left(words, tmp_path):
    more = ["--log_interval=1", "--valid_interval=0", "-o", "TRAIN.epoch=100000"]
    process = start("train.py", words, f"--save_dir={tmp_path}", *more)
    for line in process.stdout:
        if "[TRAIN] Epoch 1," in line:
            break
    workers = launcher.workers(process)
    assert len(workers) == 2
    process.send_signal(signal.SIGTERM)
    status, output = launcher.finish(process)
    assert status == 130 and "resume" in output
    assert all(launcher.gone(pid) for pid in workers)
    assert (tmp_path / "TINYNET_latest.json").exists()


def test_processes_end_with_the_one_that_started_them(words, tmp_path):
    process = start("train.py", words, f"--save_dir={tmp_path}", "--log_interval=1", "-o", "TRAIN.epoch=100000")
    for line in process.stdout:
        if "[TRAIN] Epoch 1," in line:
            break
    workers = launcher.workers(process)
    process.kill()
    assert len(workers) == 2 and all(launcher.gone(pid) for pid in workers)
    process.communicate()


@pytest.mark.parametrize("text, count", [("cpu:3", 3), ("1", 1), (None, 1), ("all", 1)])
def test_devices_without_a_gpu(text, count):
    assert spawn.wanted(text, use_gpu=False).count == count


@pytest.mark.parametrize("text", ["cpu:0", "0", "gpu", "1,x", "2", "0,0", "cpu"])
def test_devices_that_cannot_be(text):
    with pytest.raises(ConfigError, match=f"--devices '{text}'"):
        spawn.wanted(text, use_gpu=False)
