"""Every command line of the five documents that users come from works as typed, on tiny data.

ZOO        the README of the first-generation zoo (v1.3): flags with hyphens, configs/*.txt
STNET      its StNet page (v1.3)
TSN        the TSN page of a later release (v1.6): eval.py, predict.py, run.sh, YAML
TPN        the page of a TPN in Paddle: train.py and eval.py started without arguments
MINDSPORE  the README of MindSpore's StNet: --device_id, --dataset_path, .ckpt, scripts with positional arguments
"""

import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from datareader import READERS
from dataset.quickstart.make_clips import write_clip
from engine.configuration import configure
from engine.weights import formats, load
from models import find
from support import drivers, goldens, launcher, lodtensors, mindspore, networks, tiny
from support.goldens import ROOT

MODELS = ("AttentionCluster", "AttentionLSTM", "NEXTVLAD", "STNET", "TSN")  # as the ZOO document lists them
CONFIGS = ("attention_cluster.txt", "attention_lstm.txt", "nextvlad.txt", "stnet.txt", "tsn.txt")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Clips and a list; folders of pickles as MindSpore's document lays them out."""
    folder = tmp_path_factory.mktemp("documents")
    tiny.make_clips(folder / "clips", count=4)
    for split in ("train_pkl", "val_pkl"):
        (folder / "data" / split).mkdir(parents=True)
        for i in range(2):
            tiny.make_pickle(folder / "data" / split / f"video{i}.pkl", i, seed=i)
    return folder


@pytest.fixture(scope="module")
def small(work):
    """Words that make a real model's recipe tiny."""
    return ["--no_report", *tiny.flags({**tiny.TINY, **tiny.lists(work / "clips" / "clips.list")})]


def calm(work, name):
    """Weights that keep the scale of activations: after two steps from scratch, a network may overflow in a test."""
    path = work / f"{name}.npz"
    if not path.exists():
        formats.save(path, networks.weights(name, tiny.TINY))
    return path


@pytest.fixture
def run(capsys):
    """Run a driver in this process; the printed text. It must succeed."""

    def runner(program, *words, status=0):
        code, output = drivers.status(capsys, program, *words)
        assert code == status, output
        return output

    return runner


def bash(*words, cwd=ROOT, status=0, **environment):
    """The printed text of a shell command, which must end with `status`."""
    found = subprocess.run(
        ["bash", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        text=True,
        capture_output=True,
    )
    assert found.returncode == status, found.stdout + found.stderr
    return found.stdout + found.stderr


# ---- ZOO


@pytest.fixture(scope="module")
def config(work):
    """$CONFIG: a file of the old form."""
    sections = {}
    for dotted, value in {**tiny.TINY, **tiny.lists(work / "clips" / "clips.list")}.items():
        section, _, key = dotted.partition(".")
        sections.setdefault(section, []).append(f"{key} = {value!r}")
    path = work / "mine.txt"
    path.write_text("\n".join(f"[{name}]\n" + "\n".join(lines) for name, lines in sections.items()), encoding="utf-8")
    return path


def test_zoo_trains_tests_and_infers(work, config, run):
    common = ["--model-name=TINYNET", f"--config={config}", "--no-report"]
    saved = work / "zoo"
    words = [*common, f"--save-dir={saved}", "--epoch=1", "--log-interval=10", "--valid-interval=1"]
    assert "[TRAIN] Epoch 0, iter 0" in run("train.py", *words)
    [file] = (saved / "log").glob("train_*.log")
    assert "[INFO: meter.py:" in file.read_text(encoding="utf-8")
    for ending in (".pdparams", ".pdopt"):  # as Paddle 1.7 and 1.8 leave them, without our JSON
        (work / "old").mkdir(exist_ok=True)
        shutil.copy(saved / f"TINYNET_epoch0{ending}", work / "old")
    words = [*common, f"--save_dir={work / 'longer'}", f"--resume={work / 'old' / 'TINYNET_epoch0.pdparams'}"]
    assert "of the optimizer, and epoch 1 from its name" in run("train.py", *words, "--epoch=2", "--no_report")
    assert (work / "longer" / "TINYNET_epoch1.json").exists()
    run("train.py", *common, f"--save-dir={work / 'pretrained'}", f"--pretrain={saved / 'TINYNET_best'}", "--no_report")
    run("train.py", *common, f"--save-dir={work / 'resumed'}", f"--resume={saved / 'TINYNET_epoch0'}", "--epoch=2")
    weights = f"--weights={saved / 'TINYNET_epoch0'}"
    tested = run("test.py", *common, "--log-interval=1", weights, f"--save_dir={work / 'tested'}")
    assert "[EVAL] eval finished." in tested
    filelist = f"--filelist={work / 'clips' / 'clips.list'}"
    run("infer.py", *common, "--log-interval=1", weights, filelist, f"--save-dir={work}")
    assert "classified 4 of 4" in run("infer.py", *common, weights, f"--save_dir={work}")  # the config's list
    with open(work / "TINYNET_infer_result", "rb") as file:
        name, probabilities, classes = pickle.load(file)[0]
    assert name and len(probabilities) == len(classes) == 2


def test_zoo_unpacks_the_backbone_where_the_documents_say(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    cache = tmp_path / ".paddle" / "weights"
    cache.mkdir(parents=True)
    lodtensors.write_directory(tmp_path / "made", {"conv1_weights": np.ones((2, 3), np.float32)})
    with tarfile.open(cache / "ResNet50_pretrained.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "made", "ResNet50_pretrained")
    model = find("TSN")(configure("TSN")[1], "train")
    for _ in range(2):  # the second time, the folder is found
        assert load.require_pretrained(None, model) == str(cache / "ResNet50_pretrained")
    assert (cache / "ResNet50_pretrained" / "conv1_weights").is_file()


@pytest.mark.parametrize("program", ["train.py", "test.py", "infer.py"])
def test_zoo_help(program, run):
    assert "--model_name" in run(program, "--help")


@pytest.mark.parametrize("model, name", zip(MODELS, CONFIGS, strict=True))
def test_zoo_names_of_models_and_configs(model, name):
    found, _ = configure(model, ROOT / "configs" / name)
    assert found.name == model
    assert configure(model, str(ROOT / "configs" / name).replace(".txt", ".yaml"))[0] is found


@pytest.mark.parametrize("verb", ["train", "test", "infer"])
@pytest.mark.parametrize("model", MODELS)
def test_zoo_scripts_by_the_names_of_models(verb, model):
    output = bash("-x", f"scripts/{verb}/{verb}_{model}.sh", "--help", SHELLOPTS="xtrace")
    assert f"python {verb}.py --model_name={model} --config=configs/" in output and "usage: " in output


def test_scripts_take_any_spelling():
    assert "usage: train.py" in bash("scripts/model.sh", "train", "attention-cluster", "--help")
    assert "unknown model 'tsm'; known: AttentionCluster" in bash("scripts/model.sh", "train", "tsm", status=2)


# ---- STNET


def test_stnet_page(work, small, run):
    words = ["--model_name=STNET", "--config=./configs/stnet.txt", f"--save_dir={work / 'stnet'}"]
    run("train.py", *words, "--log_interval=10", "--valid_interval=0", "--pretrain=none", *small)
    assert (work / "stnet" / "STNET_epoch0.pdparams").exists()
    weights = f"--weights={calm(work, 'STNET')}"
    words = ["--model_name=STNET", "--config=configs/stnet.txt", "--log_interval=1", weights]
    assert "accuracy:{'acc':" in run("test.py", *words, f"--save_dir={work / 'tested'}", *small)
    words = ["--model_name=stnet", "--config=configs/stnet.txt", "--log_interval=1", weights]
    filelist = f"--filelist={work / 'clips' / 'clips.list'}"
    run("infer.py", *words, filelist, f"--save_dir={work}", *small)
    assert len(pickle.loads((work / "STNET_infer_result").read_bytes())) == 4
    bash("scripts/test/test__stnet.sh", "--help")  # spelt so on that page


# ---- TSN


def test_tsn_page(work, small, run):
    words = [
        "--model_name=TSN",
        "--config=./configs/tsn.yaml",
        "--log_interval=10",
        "--valid_interval=0",
        "--use_gpu=True",
    ]
    more = [f"--save_dir={work / 'tsn'}", "--fix_random_seed=False", "--pretrain=none"]
    assert "running on the CPU" in run("train.py", *words, *more, *small)
    assert (work / "tsn" / "TSN_epoch0.pdparams").exists()
    weights = f"--weights={calm(work, 'TSN')}"
    words = ["--model_name=TSN", "--config=./configs/tsn.yaml", "--log_interval=1", weights, "--use_gpu=True"]
    assert "top1_acc" in run("eval.py", *words, f"--save_dir={work / 'tested'}", *small).lower()
    filelist = f"--filelist={work / 'clips' / 'clips.list'}"
    listed = run("predict.py", *words, filelist, "--video_path=", f"--save_dir={work}", *small)
    assert "classified 4 of 4" in listed
    clip = next((work / "clips").glob("*.mp4"))
    assert "classified 1 of 1" in run(
        "predict.py", *words, filelist, f"--video_path={clip}", f"--save_dir={work}", *small
    )


@pytest.mark.parametrize("mode", ["train", "eval", "predict", "inference"])
def test_tsn_run_sh(mode):
    program = {"eval": "eval", "predict": "predict", "inference": "inference_model", "train": "train"}[mode]
    output = bash("-x", "run.sh", mode, "TSN", "./configs/tsn.yaml", "--help")
    assert f"python {program}.py --model_name=TSN --config=./configs/tsn.yaml" in output and "usage: " in output


def test_tsn_exports_of_the_page():
    """Those flags are Paddle 1's; a later Paddle must still start with them."""
    flags = {"fast_eager_deletion_mode": "1", "eager_delete_tensor_gb": "0.0", "fraction_of_gpu_memory_to_use": "0.98"}
    exports = {f"FLAGS_{name}": value for name, value in flags.items()}
    output = bash(
        "run.sh", "train", "TSN", "./configs/tsn.yaml", "--summary", CUDA_VISIBLE_DEVICES="0,1,2,3", **exports
    )
    assert "parameters" in output


# ---- TPN


@pytest.mark.parametrize("program", ["train.py", "eval.py"])
def test_tpn_programs_without_arguments_list_the_models(program, run):
    output = run(program, status=2)
    assert f"python {program} --model_name=TPN --config=configs/tpn.yaml" in output


def test_tpn_config_alone_is_enough(tmp_path, monkeypatch, run):
    """The layout of that page, from its own folder."""
    lists = tmp_path / "data" / "kinetics400"
    for folder in (lists, tmp_path / "configs", tmp_path / "dataset" / "train_256"):
        folder.mkdir(parents=True)
    write_clip(tmp_path / "dataset" / "train_256" / "a.mp4", tiny.images(0, seed=1))
    for name in ("trainlist.txt", "vallist.txt"):
        (lists / name).write_text(f"{tmp_path / 'dataset' / 'train_256' / 'a.mp4'} 3\n", encoding="utf-8")
    text = "[MODEL]\nname = 'TPN'\nstep = 8\n[TRAIN]\nfilelist = './data/kinetics400/trainlist.txt'\n"
    text += "[VALID]\nfilelist = './data/kinetics400/vallist.txt'\n[TEST]\nseg_num = 10\n"
    (tmp_path / "configs" / "tpn_kinetics400.txt").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert "parameters" in run("train.py", "--config=configs/tpn_kinetics400.txt", "--summary")
    model, config = configure(None, "configs/tpn_kinetics400.txt")
    assert config.TEST.num_clips == 10 and config.MODEL.frame_interval == 8
    assert [len(READERS[model.data].from_config(config, mode)) for mode in ("train", "valid")] == [1, 1]
    monkeypatch.chdir(ROOT)  # without that file, the recipe is used
    assert "parameters" in run("eval.py", "--config=configs/tpn_kinetics400.txt", "--summary")


# ---- MINDSPORE


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """What the scripts take for the project: its rooms, with a place of its own for what they write."""
    folder = tmp_path_factory.mktemp("project")
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in ("train_parallel0", "exported", "eval.log", "acc.log"):
            (folder / path.name).symlink_to(path)
    return folder


def background(project, script, *words):
    """The log of a script of that document, when what it started in the background has ended."""
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    output = bash(project / "scripts" / script, *words, PATH=path)
    pid, log = re.search(r"as process ([0-9]+); what it prints, errors too, is in (\S+)", output).groups()
    assert launcher.gone(int(pid), seconds=150)
    with open(log, encoding="utf-8") as file:
        return file.read()


@pytest.fixture(scope="module")
def theirs(work, small, project):
    """The folder of a training started as the document starts it, from a MindSpore file."""
    weights = networks.weights("STNET", {**tiny.TINY, "MODEL.edition": "mindspore"})
    rows = [(row["name"], weights[row["paddle_name"]]) for row in goldens.table("STNET_mindspore")]
    mindspore.write(work / "stnet-60_1.ckpt", {name: value.T if name == "fc.weight" else value for name, value in rows})
    slow = ["-o", "TRAIN.learning_rate=1e-6", "-o", "TRAIN.seed=1", "-o", "TRAIN.label_smoothing=0.1"]
    slow += ["-o", "TRAIN.smoothing_over=others", *_without_lists(small)]
    words = ["0", work / "data", "rank_table.json", work / "stnet-60_1.ckpt", *slow]
    output = background(project, "run_distribute_train.sh", *words)
    assert "MODEL.edition is 'mindspore': so the weights say" in output and "training finished" in output, output
    return project / "train_parallel0"


def _without_lists(words):
    """-o words but for those that name lists."""
    pairs = zip(words[1::2], words[2::2], strict=True)
    return [words[0], *(word for pair in pairs if "filelist" not in pair[1] for word in pair)]


def test_mindspore_eval_and_export(work, theirs, project, run, monkeypatch):
    best = theirs / "best_acc.ckpt"  # as the document calls it; this zoo's best lies in that folder
    words = [
        "--device_id=0",
        f"--dataset_path={work / 'data'}",
        "--run_distribute=0",
        f"--resume={best}",
        "--no_report",
    ]
    assert "accuracy:{'acc':0." in run("eval.py", *words, "--no_report", f"--save_dir={work / 'tested'}")
    run("export.py", "--resume", best, "--file_name", work / "exported", "--file_format", "ONNX")
    for form in ("MINDIR", "AIR"):
        words = ["--resume", best, "--file_name", "stnet", "--file_format", form]
        assert "only MindSpore" in run("export.py", *words, status=2)
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    output = bash(project / "scripts" / "run_infer_310.sh", work / "exported", work / "data", "n", "0", PATH=path)
    accuracy = r"after allreduce eval: top1_correct=[0-2], tot=2, acc=[0-9]+\.[05]0%"
    assert re.search(accuracy, output) and re.search(accuracy, (project / "acc.log").read_text(encoding="utf-8"))
    monkeypatch.chdir(project)
    assert re.search(accuracy, run("scripts/infer_310.py", work / "exported", ""))  # "" is the model's own list


def test_mindspore_scripts(work, theirs, project):
    output = background(project, "run_eval.sh", "0", work / "data", theirs / "best_acc.ckpt")
    assert re.search(r"^accuracy:\{'acc':[01]\.[0-9]{4}\}$", output, re.MULTILINE)  # grep "accuracy:" eval.log
    missing = work / "nowhere"
    output = bash("scripts/run_eval.sh", "0", missing, theirs / "best_acc.ckpt", status=2)
    assert f"DATASET_PATH '{missing}' is not a folder" in output
    output = bash("scripts/run_distribute_train.sh", "1", missing, "rank_table.json", status=2)
    assert f"DATASET_PATH '{missing}' is not a folder" in output
    assert "usage: bash run_eval.sh" in bash("scripts/run_eval.sh", status=1)
    assert "only MindSpore reads it" in bash("scripts/run_infer_310.sh", "stnet.mindir", missing, "y", status=2)


def test_mindspore_empty_resume_is_none(work, small, run):
    words = ["--device_id=0", "--dataset_path=", "--run_distribute=0", "--resume=", "--pretrain=none", "--summary"]
    assert "parameters" in run("train.py", *words)
    assert "parameters" in run("eval.py", *words[:4], "--summary")


def test_mindspore_config_keys(work, tmp_path, run):
    text = "class_num: 2\nT: 2\nN: 5\nbatch_size: 2\nnum_epochs: 3\nlr: 0.002\nmode: GRAPH\nresume: ''\n"
    text += "momentum: 0.8\n---\nlr: help\n"
    (tmp_path / "default_config.yaml").write_text(text, encoding="utf-8")
    model, config = configure(None, tmp_path / "default_config.yaml")
    assert model.name == "STNET" and config.MODEL.num_classes == 2 and config.MODEL.seg_num == 2
    train = config.TRAIN
    assert (train.epoch, train.learning_rate, train.momentum, train.batch_size) == (3, 0.002, 0.8, 2)
    (tmp_path / "wrong.yaml").write_text("class_nums: 2\n", encoding="utf-8")
    output = run("train.py", f"--config={tmp_path / 'wrong.yaml'}", status=2)
    assert "did you mean 'class_num', which is MODEL.num_classes?" in output
    (tmp_path / "sections.yaml").write_text(
        "MODEL: {name: STNET, class_num: 2, T: 3}\nTRAIN: {lr: 0.5}\n", encoding="utf-8"
    )
    _, config = configure(None, tmp_path / "sections.yaml")
    assert (config.MODEL.num_classes, config.MODEL.seg_num, config.TRAIN.learning_rate) == (2, 3, 0.5)
    (tmp_path / "config.py").write_text("class_num = 2\n", encoding="utf-8")
    assert "is a Python program" in run("train.py", f"--config={tmp_path / 'config.py'}", status=2)


def test_mindspore_preparation(tmp_path):
    """generate_label.py and video2pkl.py from the folder that holds them; the pickles open without this zoo."""
    csv = "label,youtube_id,time_start,time_end,split,is_cc\nwaving hand,abc,1,11,train,0\nrunning,def,2,12,train,0\n"
    (tmp_path / "kinetics-400_train.csv").write_text(csv, encoding="utf-8")
    for label, stem in (("waving hand", "abc_000001_000011"), ("running", "def_000002_000012")):
        (tmp_path / "train_mp4" / label).mkdir(parents=True)
        write_clip(tmp_path / "train_mp4" / label / f"{stem}.mp4", tiny.images(0, seed=1))
    for words in (
        ["generate_label.py", "kinetics-400_train.csv", "kinetics400_label.txt"],
        ["video2pkl.py", "kinetics-400_train.csv", "train_mp4", "train_pkl", "2"],
    ):
        command = [sys.executable, str(ROOT / "dataset" / "kinetics" / words[0]), *words[1:]]
        done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
    name, label, frames = pickle.loads((tmp_path / "train_pkl" / "abc_000001_000011.pkl").read_bytes())
    assert name == "./abc_000001_000011" and label == 1 and frames[0][:2] == b"\xff\xd8"
