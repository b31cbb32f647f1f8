"""N epochs equal k epochs, a death or an interruption at any moment, and the rest: bit for bit on a CPU."""

import json
import pickle
import re
import signal

import numpy as np
import pytest

from storage.tables import read_csv
from support import drivers, tiny


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tiny.make_clips(tmp_path_factory.mktemp("clips"), count=8)
    (path.parent / "names.txt").write_text("left\nright\n")
    return path


def words(data, save_dir, *more):
    overrides = {**tiny.TINY, **tiny.lists(data), "TRAIN.epoch": 3, "TRAIN.seed": 7, **tiny.SMALL_RECIPE}
    overrides["MODEL.class_names"] = data.parent / "names.txt"
    return [
        "train.py",
        "--model_name=TINYNET",
        "--pretrain=none",
        f"--save_dir={save_dir}",
        "--log_interval=1",
        "--valid_interval=0",
        "--keep_checkpoints=2",
        "--no_report",
        *tiny.flags(overrides),
        *more,
    ]


def finish(process):
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return output


def wait_for(process, text):
    """Read the process's output until a line holds `text`."""
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the process ended without printing '{text}'")


def tensors(save_dir, ending):
    with open(save_dir / f"TINYNET_epoch2.{ending}", "rb") as file:
        return pickle.load(file)


def assert_same(one, other):
    for ending in ("pdparams", "pdopt"):
        first, second = tensors(one, ending), tensors(other, ending)
        assert set(first) == set(second) and first
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def assert_each_once(save_dir):
    """Each epoch is one row of results.csv, each step one line of log.jsonl, in order."""
    assert [row["epoch"] for row in read_csv(save_dir / "TINYNET_results.csv")] == ["0", "1", "2"]
    lines = (save_dir / "TINYNET_log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(12))


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    save_dir = tmp_path_factory.mktemp("uninterrupted")
    finish(drivers.start(*words(data, save_dir)))
    return save_dir


def test_kill_and_resume(data, uninterrupted, tmp_path):
    process = drivers.start(*words(data, tmp_path))
    wait_for(process, "Epoch 1, iter 2")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "TINYNET_epoch1.json").exists()
    output = finish(drivers.start(*words(data, tmp_path, f"--resume={tmp_path / 'TINYNET_latest'}")))
    assert "epoch 1, batch 0" in output
    assert_same(uninterrupted, tmp_path)
    assert_each_once(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*epoch*.json")) == [
        "TINYNET_epoch1.json",
        "TINYNET_epoch2.json",
    ]  # --keep_checkpoints


def test_interrupt_saves_in_mid_epoch_and_resumes_there(data, uninterrupted, tmp_path):
    process = drivers.start(*words(data, tmp_path))
    wait_for(process, "Epoch 1, iter 1")
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and re.search(r"interrupted at epoch 1, iter \d; go on with --resume", output)
    output = finish(drivers.start(*words(data, tmp_path, f"--resume={tmp_path}")))
    assert re.search(r"resumed .*epoch 1, batch [1-9]", output)
    assert_same(uninterrupted, tmp_path)
    assert_each_once(tmp_path)


def test_a_changed_setting_is_reported(data, uninterrupted, tmp_path, capsys):
    code, output = drivers.status(
        capsys, *words(data, tmp_path, f"--resume={uninterrupted / 'TINYNET_epoch2'}", "-o", "TRAIN.momentum=0.5")
    )
    assert code == 0 and "TRAIN.momentum 0.9 -> 0.5" in output
