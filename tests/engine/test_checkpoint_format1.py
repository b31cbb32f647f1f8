"""A checkpoint that an earlier version wrote in the middle of an epoch (format 1, `tests/data/old_checkpoint`): it
loads, gives the numbers that it gave there, and goes on to the parameters that it went on to there.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dataset.youtube8m import synthetic
from engine import Predictor
from engine.checkpoints import files
from engine.configuration import configure
from engine.trainer import Trainer
from utils.errors import CheckpointError, ZooError

FOLDER = Path(__file__).resolve().parent.parent / "data" / "old_checkpoint"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
NAME = "AttentionLSTM_latest"


def probabilities(weights):
    rng = np.random.default_rng(0)
    feed = {
        name: [rng.integers(0, 255, (5, size), np.uint8), rng.integers(0, 255, (3, size), np.uint8)]
        for name, size in (("rgb", 1024), ("audio", 128))
    }
    return Predictor("AttentionLSTM", weights=str(weights)).run(feed)["probabilities"]


def resumed(folder, save_dir):
    """The finished Trainer that went on from the checkpoint in `folder`."""
    train, _ = synthetic.make(save_dir / "data", "pkl", train=12, val=4, shard=4, classes=3, frames=5)
    state = files.state_of(folder / NAME)
    overrides = {
        f"MODEL.{key}": str(state["config"]["MODEL"][key]) for key in ("embedding_size", "lstm_size", "hidden_sizes")
    }
    overrides |= {"MODEL.num_classes": "3", "MODEL.topk": "3", "TRAIN.batch_size": "4", "TRAIN.epoch": "2"}
    overrides |= {"TRAIN.filelist": str(train), "VALID.filelist": "None", "TRAIN.num_reader_threads": "2"}
    model, config = configure("AttentionLSTM", None, overrides)
    trainer = Trainer(model, config, save_dir, pages=False)
    trainer.start(resume=str(folder / NAME))
    trainer.fit()
    return trainer


@pytest.mark.parametrize("spelling", ["", NAME, f"{NAME}.pdparams"])
def test_it_gives_the_same_answers(spelling):
    np.testing.assert_allclose(probabilities(FOLDER / spelling), EXPECTED["probabilities"], rtol=1e-5)


def test_it_goes_on_to_the_same_parameters(tmp_path):
    trainer = resumed(FOLDER, tmp_path)
    assert (trainer.epoch, trainer.step, trainer.best["epoch"]) == (2, 6, EXPECTED["history"][1]["epoch"])
    assert trainer.history[0] == EXPECTED["history"][0]
    for name, value in trainer.device.get(trainer.graph.parameters).items():
        assert float(np.abs(value).sum()) == pytest.approx(EXPECTED["after"][name], rel=1e-4, abs=1e-6), name


def test_its_bits_are_checked_wherever_it_is_read(tmp_path):
    """One flipped bit of a parameter was used by test, infer and export without a word."""
    shutil.copytree(FOLDER, tmp_path / "copy")
    path = tmp_path / "copy" / f"{NAME}.pdparams"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for read in (probabilities, lambda folder: resumed(folder, tmp_path)):
        with pytest.raises(CheckpointError, match="AttentionLSTM_latest.pdparams' is damaged"):
            read(tmp_path / "copy")


@pytest.mark.parametrize("section, key", [("config", "MODEL"), ("config", "TRAIN"), ("best", "epoch"), ("best", "key")])
def test_misspelt_keys_inside_its_json_end_in_one_sentence_or_do_not_matter(tmp_path, section, key):
    shutil.copytree(FOLDER, tmp_path / "copy")
    path = tmp_path / "copy" / f"{NAME}.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state[section][f"{key}X"] = state[section].pop(key)
    path.write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(ZooError, match="best|config|MODELX|TRAINX"):
        probabilities(tmp_path / "copy")
