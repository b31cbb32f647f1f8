"""Checkpoints survive anything: a full disk, a death between two renames, a flipped bit, any spelling of a path."""

import json
import os
import pickle
import resource
import shutil
import sys
import zlib

import numpy as np
import paddle
import pytest

from engine.checkpoints import files as checkpoint
from engine.checkpoints import finding, parts
from support import saving
from support.saving import STATE
from utils.errors import CheckpointError


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
    assert finding.resolve(tmp_path / spelling, "TSN") == tmp_path / "TSN_latest"
    assert checkpoint.load(tmp_path / "TSN_latest")[2]["epoch"] == 3


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.pdopt", "x.pdparams"]


def test_damage_is_noticed(tmp_path):
    write(tmp_path / "x")
    data = bytearray((tmp_path / "x.pdopt").read_bytes())
    data[-10] ^= 1
    (tmp_path / "x.pdopt").write_bytes(data)
    with pytest.raises(CheckpointError, match="x.pdopt' is damaged"):
        checkpoint.load(tmp_path / "x")
    with pytest.raises(CheckpointError, match="'.*absent' is not a checkpoint"):
        checkpoint.load(tmp_path / "absent")


def edited(path, change):
    """Apply `change` to the dictionary in a JSON file."""
    state = json.loads(path.read_text(encoding="utf-8"))
    change(state)
    path.write_text(json.dumps(state, indent=2, ensure_ascii=False), encoding="utf-8")


@pytest.mark.parametrize(
    "key", ["seed", "epoch", "batch", "history", "class_names", "config", "crc32", "format", "save", "best"]
)
def test_no_key_of_the_json_can_be_edited_without_a_word(tmp_path, key):
    """They were resumed without a word: another seed, epoch, batch or best."""
    write(tmp_path / "x", best={"key": "top1", "value": 60.0, "epoch": 2})
    intact = (tmp_path / "x.json").read_bytes()
    other = {"seed": 8, "epoch": 2, "batch": 1, "class_names": ["ü", "a"], "format": 1, "history": [{"epoch": 0}]}
    changes = [
        lambda state: state.update({key: other.get(key, {})}),
        lambda state: state.pop(key),
        lambda state: state.update({f"{key}s": state.pop(key)}),
    ]
    for change in changes:
        edited(tmp_path / "x.json", change)
        for read in (checkpoint.load, checkpoint.parameters, checkpoint.state_of):
            with pytest.raises(CheckpointError, match="x.json' is damaged or was edited"):
                read(tmp_path / "x")
        (tmp_path / "x.json").write_bytes(intact)
    checkpoint.load(tmp_path / "x")


def test_every_flipped_bit_is_noticed(tmp_path):
    write(tmp_path / "x", best={"key": "top1", "value": 60.0, "epoch": 2})
    rng = np.random.default_rng(0)
    for ending in checkpoint.ENDINGS:
        path = tmp_path / f"x{ending}"
        intact = path.read_bytes()
        for _ in range(60):
            data = bytearray(intact)
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            path.write_bytes(data)
            with pytest.raises(CheckpointError):
                checkpoint.load(tmp_path / "x")
        path.write_bytes(intact)


def old(prefix, value=1.0, **state):
    """A checkpoint as earlier versions wrote it, without a seal over its JSON."""
    data = [pickle.dumps({name: np.full((2, 3), value, np.float32)}, protocol=4) for name in ("w", "w_velocity_0")]
    sums = dict(zip(checkpoint.ENDINGS, map(zlib.crc32, data), strict=False))
    text = json.dumps({"format": 1, **STATE, **state, "crc32": sums}, indent=2, ensure_ascii=False)
    for ending, content in zip(checkpoint.ENDINGS, (*data, text.encode()), strict=True):
        (prefix.parent / f"{prefix.name}{ending}").write_bytes(content)


@pytest.mark.parametrize(
    "key, value",
    [
        ("epoch", None),
        ("history", "x"),
        ("history", [5]),
        ("config", "x"),
        ("class_names", None),
        ("crc32", 5),
        ("epoch", -5),
        ("epoch", 10**30),
        ("batch", -1),
        ("batch", 10**30),
        ("seed", -1),
        ("best", {}),
        ("best", {"key": "top1", "value": 60.0}),
        ("config", {"MODEL": "x"}),
    ],
)
def test_an_edited_json_of_an_earlier_version_is_named_with_its_key(tmp_path, key, value):
    old(tmp_path / "x")
    edited(tmp_path / "x.json", lambda state: state.update({key: value}))
    with pytest.raises(CheckpointError, match=f"x.json': '{key}' is missing or has an invalid value"):
        checkpoint.load(tmp_path / "x")


@pytest.mark.parametrize("key", [*STATE, "format", "crc32"])
def test_a_misspelt_key_is_named(tmp_path, key):
    """Without "format" a checkpoint was taken for weights, and the resume became a fine-tune."""
    old(tmp_path / "x")
    edited(tmp_path / "x.json", lambda state: state.update({key.upper(): state.pop(key)}))
    with pytest.raises(CheckpointError, match=f"x.json': '{key}' is missing"):
        checkpoint.state_of(tmp_path / "x")


@pytest.mark.parametrize(
    "text, message",
    [
        (json.dumps({**STATE, "crc32": {}, "format": 3}), "has format '3', this zoo reads '1' and '2'"),
        ("[" * 100000, "it nests too deep"),
        (json.dumps({**STATE, "class_names": ["\ud800"]}), "surrogates not allowed"),
    ],
)
def test_json_that_nobody_here_wrote(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        checkpoint.state_of(tmp_path / "x")


@pytest.mark.parametrize("content", [[1, 2], {"w": "text"}, {"w": {"x": np.ones(2)}}])
def test_an_optimizer_that_is_no_dictionary_of_arrays(tmp_path, content):
    old(tmp_path / "x")
    data = pickle.dumps(content)
    (tmp_path / "x.pdopt").write_bytes(data)
    edited(tmp_path / "x.json", lambda state: state["crc32"].update({".pdopt": zlib.crc32(data)}))
    with pytest.raises(CheckpointError, match="x.pdopt' holds no dictionary of arrays"):
        checkpoint.load(tmp_path / "x")


@pytest.mark.parametrize("renamed", [0, 1, 2, 3])
def test_what_an_earlier_version_left_between_its_renames_is_read_and_finished(tmp_path, renamed):
    """All new files were written, and `renamed` of them had their names. Reading changes nothing on the disk."""
    old(tmp_path / "TSN_epoch3", value=1.0, epoch=3)
    old(tmp_path / "TSN_epoch4", value=2.0, epoch=4)
    for i, ending in enumerate(checkpoint.ENDINGS):
        shutil.copy(tmp_path / f"TSN_epoch3{ending}", tmp_path / f"TSN_latest{ending}")
        new = tmp_path / f"TSN_latest{ending}{'' if i < renamed else '.new'}"
        shutil.copy(tmp_path / f"TSN_epoch4{ending}", new)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    parameters, _, state = checkpoint.load(finding.resolve(tmp_path, "TSN"))
    assert (parameters["w"][0, 0], state["epoch"]) == (2.0, 4)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    parts.settle(tmp_path, "TSN")
    assert not list(tmp_path.glob("*.new"))
    assert checkpoint.load(tmp_path / "TSN_latest")[2]["epoch"] == 4


@pytest.mark.parametrize("sums", [None, {}, {".pdparams": 1}, "x"])
def test_leftovers_that_are_not_whole_are_passed_over(tmp_path, sums):
    """A `.json.new` with an incomplete "crc32" gave a KeyError."""
    old(tmp_path / "TSN_latest")
    state = json.loads((tmp_path / "TSN_latest.json").read_text(encoding="utf-8"))
    (tmp_path / "TSN_latest.json.new").write_text(json.dumps({**state, "epoch": 9, "crc32": sums}))
    (tmp_path / "TSN_latest.pdparams.new").write_bytes(b"half")
    assert checkpoint.load(tmp_path / "TSN_latest")[2]["epoch"] == 3
    parts.settle(tmp_path, "TSN")
    assert len(list(tmp_path.iterdir())) == 3 and checkpoint.load(tmp_path / "TSN_latest")[2]["epoch"] == 3


def test_whose_checkpoints_a_folder_holds(tmp_path):
    write(tmp_path / "TSN_latest")
    assert finding.resolve(tmp_path, "") == tmp_path / "TSN_latest"
    with pytest.raises(
        CheckpointError, match="holds checkpoints of TSN, none of TPN; name one, such as '.*TSN_latest'"
    ):
        finding.resolve(tmp_path, "TPN")
    write(tmp_path / "STNET_latest")
    assert finding.resolve(tmp_path, "TSN") == tmp_path / "TSN_latest"
    with pytest.raises(CheckpointError, match="holds checkpoints of STNET and TSN; name one"):
        finding.resolve(tmp_path, "")


def test_a_program_that_paddle_saved_is_no_checkpoint(tmp_path):
    (tmp_path / "x.json").write_text('{"base_code": {}}', encoding="utf-8")
    assert checkpoint.state_of(tmp_path / "x") is None


def test_link_keeps_its_content_when_the_source_goes(tmp_path):
    write(tmp_path / "TSN_epoch0")
    checkpoint.link(tmp_path / "TSN_epoch0", tmp_path / "TSN_best")
    checkpoint.remove(tmp_path / "TSN_epoch0")
    assert checkpoint.load(tmp_path / "TSN_best")[2]["epoch"] == 3


def test_a_planted_link_is_not_followed_and_a_planted_folder_not_used(tmp_path):
    """`.new` names could be guessed: what they pointed to was overwritten."""
    (tmp_path / "precious").write_text("precious")
    for ending in checkpoint.ENDINGS:
        os.symlink(tmp_path / "precious", tmp_path / f"x{ending}.new")
        os.symlink(tmp_path / "precious", tmp_path / f"x{ending}")
    write(tmp_path / "x")
    assert (tmp_path / "precious").read_text() == "precious" and checkpoint.load(tmp_path / "x")
    assert not (tmp_path / "x.json").is_symlink()


def test_names_of_one_checkpoint_never_share_what_is_written_later(tmp_path):
    """A save went into the file that two names had in common after a death between two links."""
    write(tmp_path / "TSN_epoch0", value=1.0)
    for ending in checkpoint.ENDINGS:
        os.link(tmp_path / f"TSN_epoch0{ending}", tmp_path / f"TSN_latest{ending}.new")
    write(tmp_path / "TSN_latest", value=2.0)
    assert checkpoint.load(tmp_path / "TSN_epoch0")[0]["w"][0, 0] == 1.0
    parts.settle(tmp_path, "TSN")
    assert not list(tmp_path.glob("*.new")) and checkpoint.load(tmp_path / "TSN_latest")[0]["w"][0, 0] == 2.0


def test_a_new_state_for_the_same_values(tmp_path):
    write(tmp_path / "TSN_epoch0")
    checkpoint.link(
        tmp_path / "TSN_epoch0", tmp_path / "TSN_best", {**STATE, "history": [{"epoch": 0, "valid_top1": 5.0}]}
    )
    checkpoint.rewrite(tmp_path / "TSN_epoch0", {**STATE, "batch": 5})
    assert checkpoint.load(tmp_path / "TSN_epoch0")[2]["batch"] == 5
    parameters, _, state = checkpoint.load(tmp_path / "TSN_best")
    assert state["history"][0]["valid_top1"] == 5.0 and parameters["w"][0, 0] == 1.0
    assert os.path.samefile(tmp_path / "TSN_epoch0.pdparams", tmp_path / "TSN_best.pdparams")


def test_an_unfinished_first_latest_leaves_the_epoch_to_resume_from(tmp_path):
    write(tmp_path / "TSN_epoch9", epoch=10)
    write(tmp_path / "TSN_epoch10", epoch=11)
    assert finding.resolve(tmp_path, "TSN") == tmp_path / "TSN_epoch10"


def writer_that_dies(folder, calls):
    """Saves an epoch in a child process that dies before call number `calls` that changes or opens a name.

    Returns whether it came to its end.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    left = [calls]

    def die(event, args):
        changes = event in ("os.rename", "os.mkdir", "os.rmdir", "os.link", "os.remove")
        if changes or (event == "open" and str(folder) in str(args[0])):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

    sys.addaudithook(die)
    try:
        saving.epoch(folder)
        os._exit(0)
    finally:
        os._exit(1)


def test_death_at_any_call_leaves_whole_checkpoints(tmp_path):
    """The writer dies before its first, second, third ... call that changes names or opens a file."""
    for calls in range(200):
        folder = tmp_path / str(calls)
        saving.earlier(folder)
        ended = writer_that_dies(folder, calls)
        found = saving.settled(folder)
        if ended:
            break
    assert calls > 20 and found == {"epoch3": 3, "epoch4": 4, "latest": 4, "best": 4}
