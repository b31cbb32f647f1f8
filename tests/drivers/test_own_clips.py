"""From a folder of clips to named results by the README's commands, and the settings that fine-tuning takes."""

import json
import re
import shlex

import numpy as np
import pytest

from dataset.quickstart.make_clips import write_clip
from engine.graph.program import Graph
from engine.weights import formats
from models import find
from support import drivers, tiny
from support.forms import values, write
from support.goldens import ROOT

SMALL = [
    "--no_report",
    *tiny.flags({key: value for key, value in tiny.TINY.items() if key not in ("MODEL.num_classes", "MODEL.topk")}),
]
CLASSES = ("licht aus & zu", "tür auf")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder in which the released backbone lies as the old zoo left it, and a folder of clips."""
    folder = tmp_path_factory.mktemp("home")
    model_class = find("TSN")
    shapes = Graph(model_class(model_class.config_class(MODEL={"num_classes": 1000}), "infer")).shapes
    backbone = write(folder, "directory", {name: 0.01 * value for name, value in values(shapes).items()})
    (folder / ".paddle" / "weights").mkdir(parents=True)
    backbone.rename(folder / ".paddle" / "weights" / "ResNet50_pretrained")
    for label, name in enumerate(CLASSES):
        (folder / "my_clips" / name).mkdir(parents=True)
        for i in range(5):
            write_clip(folder / "my_clips" / name / f"é {i}.mp4", tiny.images(label, seed=i))
    (folder / "new_clips").symlink_to(folder / "my_clips" / CLASSES[1])
    return folder


@pytest.fixture(autouse=True)
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("ZOO_REMOTE_DELAY", "0")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody there: tests are offline


def readme():
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Your own clips")[2]
    return re.search(r"```bash\n(.*?)```", section, re.S)[1].splitlines()


def run(capsys, *words):
    """The program with small settings, which what follows can change."""
    return drivers.status(
        capsys, words[0], *(SMALL if words[0] in ("train.py", "test.py", "infer.py") else ()), *words[1:]
    )


def test_the_four_commands_of_the_readme(home, capsys):
    lines = readme()
    assert len(lines) == 4
    for line in lines:
        code, output = run(capsys, *shlex.split(line)[1:])
        assert code == 0, f"$ {line}\n{output}"
        if "train.py" in line:
            assert "loaded 265 of 265 tensors" in output and "ResNet50_pretrained" in output
    names = {row["names"][0] for row in json.loads((home / "TSN_infer_result.json").read_text(encoding="utf-8"))}
    assert names <= set(CLASSES)
    assert json.loads((home / "data/evaluate_results/TSN_test_result.json").read_text())["scored"] == 2


def lists(home):
    if not (home / "my_clips" / "clips.yaml").exists():
        from dataset.make_lists import make

        make(home / "my_clips")
    return ["--model_name=TSN", f"--config={home / 'my_clips' / 'clips.yaml'}"]


def test_a_frozen_backbone_through_the_drivers(home, tmp_path, capsys):
    """What was loaded is what is saved, but for the classifier; patience ends it."""
    code, output = run(
        capsys,
        "train.py",
        *lists(home),
        f"--save_dir={tmp_path}",
        "--patience=1",
        "-o",
        "TRAIN.freeze=backbone",
        "-o",
        "TRAIN.class_weights=balanced",
        "-o",
        "TRAIN.learning_rate=1e-30",
        "-o",
        "TRAIN.epoch=4",
    )
    assert code == 0 and "frozen: 265 of 267 tensors" in output and "class weights are balanced: from 4 to 4" in output
    assert "stopping: valid_top1 has not passed" in output and not (tmp_path / "TSN_epoch2.json").exists()
    before = formats.read(home / ".paddle" / "weights" / "ResNet50_pretrained", {"fc_0.w_0": (2048, 1000)}).arrays
    after = formats.read(tmp_path / "TSN_latest").arrays
    assert sum(np.array_equal(after[name], before[name]) for name in before) == 265


def test_released_weights_for_another_class_count(home, capsys):
    code, output = run(capsys, "test.py", *lists(home))
    assert code == 2 and "released weights of TSN know 400 classes while MODEL.num_classes is '2'" in output


def test_released_weights_offline(home, capsys):
    code, output = run(capsys, "infer.py", "--model_name=STNET", "--video_path=new_clips")
    assert code == 2 and "RELEASED weights of STNET" in output
    assert f"put it at '{home / '.paddle' / 'weights' / 'STNET.pdparams'}'" in output and "Traceback" not in output


@pytest.mark.parametrize(
    "layers, message", [(101, "only ResNet-50 was released"), (50, "or train from scratch with --pretrain none")]
)
def test_training_without_a_backbone_says_how_to_go_on(layers, message, home, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    code, output = run(capsys, "train.py", *lists(home), f"--save_dir={tmp_path}", "-o", f"MODEL.num_layers={layers}")
    assert code == 2 and message in output and "Traceback" not in output


def test_released_weights_are_fine_tuned_with_resume(home, tmp_path, capsys):
    """Complaints about v1.6 to v1.8: `--resume` wanted an optimizer's state, which was never released."""
    model_class = find("TSN")
    shapes = Graph(model_class(model_class.config_class(), "infer")).shapes
    path = write(tmp_path, "combined", values(shapes))
    code, output = run(capsys, "train.py", *lists(home), f"--resume={path}", f"--save_dir={tmp_path / 'checkpoints'}")
    assert code == 0 and "holds weights only: starting a fine-tune at epoch 0" in output
    assert "loaded 265 of 267 tensors" in output and "the classifier starts anew (fc_0.b_0 [400] -> [2]" in output


def test_list_weights(home, capsys):
    code, output = drivers.status(capsys, "train.py", "--list_weights", "--model_name=stnet")
    assert (
        code == 0
        and "video_classification/STNET.pdparams" in output
        and "top-1 0.69" in output
        and "TSN.pdparams" not in output
    )
    assert f"cached: {home / '.paddle' / 'weights' / 'ResNet50_pretrained'}" in output
    assert "no weights were released" in drivers.status(capsys, "infer.py", "--list_weights", "--model_name=TPN")[1]
    assert "NEXTVLAD" in drivers.status(capsys, "test.py", "--list_weights")[1]
    code, output = drivers.status(capsys, "test.py", "--list_weights", "--model_name=TPM")
    assert code == 2 and "unknown model 'TPM'" in output and "did you mean" in output
