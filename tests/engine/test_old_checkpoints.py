"""Files of the first-generation zoo: checkpoints without JSON, its lists' folders, label files that do not exist."""

import json
import pickle
import tarfile

import numpy as np
import pytest

from engine.checkpoints import files as checkpoint
from engine.checkpoints import finding, fluid
from engine.configuration import class_names, configure
from engine.weights import load as weights
from support import drivers, goldens, tiny

WANTED = {"w_velocity_0": (2, 3), "w_beta1_pow_acc_0": (1,), "b_velocity_0": (3,)}


def write(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))


def test_the_optimizer_beside_the_weights(tmp_path):
    write(tmp_path / "TSN_epoch4.pdparams", {"w": np.ones((2, 3), "f4")})
    state = {"w_velocity_1": np.full((2, 3), 2, "f4"), "@LR_DECAY_COUNTER@": np.array([7])}
    write(tmp_path / "TSN_epoch4.pdopt", {**state, "b_velocity_0": np.zeros(5, "f4")})
    for spelling in ("TSN_epoch4", "TSN_epoch4.pdparams", "TSN_epoch4.pdopt"):
        found = fluid.read(tmp_path / spelling, WANTED)
        assert set(found.accumulators) == {"w_velocity_0"} and found.epoch == 5
    assert fluid.read(tmp_path / "TSN_epoch5", WANTED) is None
    write(tmp_path / "TSN.pdopt", state)
    assert fluid.read(tmp_path / "TSN", WANTED).epoch is None


@pytest.mark.skipif(
    not (goldens.FULL / "fluid_checkpoints").is_dir(), reason="the files that Paddle 1.8 wrote are not here"
)
def test_files_of_paddle_1_8_without_an_optimizer():
    assert fluid.read(goldens.FULL / "fluid_checkpoints" / "fluid_save", WANTED) is None
    assert fluid.read(goldens.FULL / "fluid_checkpoints" / "save_vars_dir", WANTED) is None


def test_resume_goes_on_at_the_epoch_of_the_name(tmp_path, capsys):
    words = ["--model_name=TINYNET", f"--save_dir={tmp_path}", "--valid_interval=0", "-o", "TRAIN.seed=1"]
    words += tiny.flags({**tiny.TINY, **tiny.lists(tiny.make_clips(tmp_path / "clips"))})
    code, output = drivers.status(capsys, "train.py", *words)
    assert code == 0, output
    longer = ["-o", "TRAIN.epoch=10"]
    for ending in checkpoint.FILES:
        (tmp_path / f"TINYNET_epoch0{ending}").rename(tmp_path / f"TINYNET_epoch8{ending}")
    code, output = drivers.status(capsys, "train.py", *words, f"--resume={tmp_path / 'TINYNET_epoch8'}", *longer)
    assert code == 0 and "of the optimizer, and epoch 9 from its name" in output, output
    assert (tmp_path / "TINYNET_epoch9.json").exists() and not (tmp_path / "TINYNET_epoch1.json").exists()


def test_mindspores_name_of_the_best_checkpoint(tmp_path):
    (tmp_path / "TSN_best.json").write_text("{}", encoding="utf-8")
    (tmp_path / "TSN_latest.json").write_text("{}", encoding="utf-8")
    assert finding.resolve(tmp_path / "best_acc.ckpt", "TSN") == tmp_path / "TSN_best"
    (tmp_path / "best_acc.ckpt").write_bytes(b"theirs")
    assert finding.resolve(tmp_path / "best_acc.ckpt", "TSN") == tmp_path / "best_acc.ckpt"


def test_lists_are_found_in_the_folders_of_other_versions(tmp_path, monkeypatch):
    (tmp_path / "data/dataset/kinetics").mkdir(parents=True)
    (tmp_path / "data/dataset/kinetics/train.list").write_text("a 0\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert configure("TSN")[1].TRAIN.filelist == "./data/dataset/kinetics/train.list"
    (tmp_path / "data/dataset").rename(tmp_path / "dataset")
    old = {"TRAIN.filelist": "data/dataset/kinetics/train.list", "VALID.filelist": "data/dataset/kinetics/none.list"}
    _, config = configure("TSN", None, old)
    assert config.TRAIN.filelist == "./dataset/kinetics/train.list"
    assert config.VALID.filelist == "data/dataset/kinetics/none.list"


@pytest.mark.parametrize("classes, first", [(400, "abseiling"), (5, "class 0")])
def test_missing_kinetics_labels_end_nothing(classes, first, tmp_path):
    overrides = {"MODEL.num_classes": classes, "INFER.kinetics_labels": str(tmp_path / "kinetics_labels.json")}
    assert class_names(configure("TSN", None, overrides)[1])[0] == first
    (tmp_path / "kinetics_labels.json").write_text(json.dumps([f"n{i}" for i in range(classes)]), encoding="utf-8")
    assert class_names(configure("TSN", None, overrides)[1])[0] == "n0"


def test_a_released_archive_is_unpacked_to_the_folder_of_the_documents(tmp_path, monkeypatch):
    """`~/.paddle/weights/ResNet50_pretrained`; the archive stays, and a folder that cannot be made does no harm."""
    monkeypatch.setenv("HOME", str(tmp_path))
    cache = tmp_path / ".paddle" / "weights"
    cache.mkdir(parents=True)
    (tmp_path / "conv1_weights").write_bytes(b"as it is")
    with tarfile.open(cache / "ResNet50_pretrained.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "conv1_weights", "ResNet50_pretrained/conv1_weights")
    model_class, config = configure("TSN")
    model = model_class(config, "train")
    for _ in range(2):
        assert weights.require_pretrained(None, model) == str(cache / "ResNet50_pretrained")
    assert (cache / "ResNet50_pretrained" / "conv1_weights").read_bytes() == b"as it is"
    assert (cache / "ResNet50_pretrained.tar.gz").is_file()
