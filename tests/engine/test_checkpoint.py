"""Checkpoints survive anything: a full disk, a death between two renames, a flipped byte, any spelling of their path."""

import json
import resource
import shutil

import numpy as np
import paddle
import pytest

from engine.checkpoints import files as checkpoint
from utils.errors import CheckpointError

STATE = {
    "format": 1,
    "epoch": 3,
    "batch": 0,
    "seed": 7,
    "steps_per_epoch": 2,
    "best": None,
    "history": [],
    "class_names": ["a", "ü"],
    "config": {"TRAIN": {"batch_size": 4}},
}


def write(prefix, value=1.0, **state):
    checkpoint.save(
        prefix,
        {"w": np.full((2, 3), value, np.float32)},
        {"w_velocity_0": np.zeros((2, 3), np.float32)},
        {**STATE, **state},
    )


def test_round_trip(tmp_path):
    write(tmp_path / "TSN_epoch0")
    parameters, accumulators, state = checkpoint.load(tmp_path / "TSN_epoch0")
    assert (
        parameters["w"].tolist() == [[1.0] * 3] * 2
        and list(accumulators) == ["w_velocity_0"]
        and state["class_names"] == ["a", "ü"]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "TSN_epoch0.json",
        "TSN_epoch0.pdopt",
        "TSN_epoch0.pdparams",
    ]


def test_paddle_reads_the_files(tmp_path):
    write(tmp_path / "TSN_epoch0")
    assert np.asarray(paddle.load(str(tmp_path / "TSN_epoch0.pdparams"))["w"]).shape == (2, 3)


def test_files_are_as_large_as_what_they_hold(tmp_path):
    """Protocol 2 of pickle spells every byte above 127 with two."""
    checkpoint.save(tmp_path / "x", {"w": np.random.default_rng(0).normal(size=10_000)}, {}, STATE)
    assert 80_000 < (tmp_path / "x.pdparams").stat().st_size < 81_000


@pytest.mark.parametrize("spelling", ["TSN_latest", "TSN_latest.pdparams", "TSN_latest.pdopt", "TSN_latest.json", ""])
def test_any_spelling_of_the_path(tmp_path, spelling):
    write(tmp_path / "TSN_epoch0")
    checkpoint.link(tmp_path / "TSN_epoch0", tmp_path / "TSN_latest")
    assert checkpoint.resolve(tmp_path / spelling, "TSN") == tmp_path / "TSN_latest"
    assert checkpoint.load(tmp_path / "TSN_latest")[2]["epoch"] == 3


@pytest.mark.parametrize("renamed", [0, 1, 2, 3])
def test_death_between_two_renames_leaves_a_whole_checkpoint(tmp_path, renamed):
    """Everything new is on disk, `renamed` of the three files already have their name."""
    write(tmp_path / "old", value=1.0, epoch=3)
    write(tmp_path / "new", value=2.0, epoch=4)
    for i, ending in enumerate(checkpoint.ENDINGS):
        shutil.copy(tmp_path / f"old{ending}", tmp_path / f"x{ending}")
        shutil.copy(tmp_path / f"new{ending}", tmp_path / (f"x{ending}" if i < renamed else f"x{ending}.new"))
    parameters, _, state = checkpoint.load(tmp_path / "x")
    assert (parameters["w"][0, 0], state["epoch"]) == (2.0, 4)


@pytest.mark.parametrize("written", [1, 2, 3])
def test_death_while_writing_leaves_the_old_checkpoint(tmp_path, written):
    write(tmp_path / "x", value=1.0)
    write(tmp_path / "new", value=2.0, epoch=4)
    for i, ending in enumerate(checkpoint.ENDINGS[:written]):
        data = (tmp_path / f"new{ending}").read_bytes()
        (tmp_path / f"x{ending}.new").write_bytes(data if i < written - 1 else data[: len(data) // 2])
    assert checkpoint.load(tmp_path / "x")[0]["w"][0, 0] == 1.0


def test_full_disk_leaves_the_old_checkpoint_and_says_so(tmp_path):
    write(tmp_path / "x", value=1.0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # writing more than 100 bytes fails, as on a full disk
    try:
        with pytest.raises(CheckpointError, match="x' was not written: .*an earlier checkpoint of that name is intact"):
            write(tmp_path / "x", value=2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoint.load(tmp_path / "x")[0]["w"][0, 0] == 1.0
    assert not list(tmp_path.glob("*.new"))


def test_damage_is_noticed(tmp_path):
    write(tmp_path / "x")
    data = bytearray((tmp_path / "x.pdopt").read_bytes())
    data[-10] ^= 1
    (tmp_path / "x.pdopt").write_bytes(data)
    with pytest.raises(CheckpointError, match="x.pdopt' is damaged"):
        checkpoint.load(tmp_path / "x")
    with pytest.raises(CheckpointError, match="'.*absent' is not a checkpoint"):
        checkpoint.load(tmp_path / "absent")


@pytest.mark.parametrize(
    "key, value",
    [
        ("epoch", None),
        ("history", "x"),
        ("config", "x"),
        ("class_names", None),
        ("crc32", 5),
        ("epoch", -5),
        ("epoch", 10**30),
        ("batch", -1),
        ("batch", 10**30),
        ("seed", -1),
        ("best", {}),
        ("config", {"MODEL": "x"}),
    ],
)
def test_an_edited_json_is_named_with_its_key(tmp_path, key, value):
    write(tmp_path / "x")
    state = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    (tmp_path / "x.json").write_text(json.dumps({**state, key: value}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=f"x.json': '{key}' is missing or not what was written"):
        checkpoint.load(tmp_path / "x")


@pytest.mark.parametrize(
    "text, message",
    [
        (json.dumps({**STATE, "crc32": {}, "format": 2}), "has format '2', this zoo reads '1'"),
        ("[" * 100000, "it nests too deep"),
        (json.dumps({**STATE, "class_names": ["\ud800"]}), "surrogates not allowed"),
    ],
)
def test_json_that_nobody_here_wrote(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        checkpoint.state_of(tmp_path / "x")


def test_whose_checkpoints_a_folder_holds(tmp_path):
    write(tmp_path / "TSN_latest")
    assert checkpoint.resolve(tmp_path, "") == tmp_path / "TSN_latest"
    with pytest.raises(
        CheckpointError, match="holds checkpoints of TSN, none of TPN; name one, such as '.*TSN_latest'"
    ):
        checkpoint.resolve(tmp_path, "TPN")
    write(tmp_path / "STNET_latest")
    assert checkpoint.resolve(tmp_path, "TSN") == tmp_path / "TSN_latest"
    with pytest.raises(CheckpointError, match="holds checkpoints of STNET and TSN; name one"):
        checkpoint.resolve(tmp_path, "")


def test_a_program_that_paddle_saved_is_no_checkpoint(tmp_path):
    (tmp_path / "x.json").write_text('{"base_code": {}}', encoding="utf-8")
    assert checkpoint.state_of(tmp_path / "x") is None


def test_link_keeps_its_content_when_the_source_goes(tmp_path):
    write(tmp_path / "TSN_epoch0")
    checkpoint.link(tmp_path / "TSN_epoch0", tmp_path / "TSN_best")
    checkpoint.remove(tmp_path / "TSN_epoch0")
    assert checkpoint.load(tmp_path / "TSN_best")[2]["epoch"] == 3
