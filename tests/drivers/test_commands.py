"""Every old command line parses and does what it says; wrong ones get one sentence and exit status 2."""

import csv
import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess

import pytest

from engine.checkpoints import files as checkpoint
from engine.graph.program import Graph
from support import drivers, tiny
from utils import cli


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    tiny.make_clips(folder / "clips", count=4)
    (folder / "names.txt").write_text("dark room\nbright room\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def keys(work):
    return tiny.flags(
        {**tiny.TINY, **tiny.lists(work / "clips" / "clips.list"), "MODEL.class_names": work / "names.txt"}
    )


@pytest.fixture(scope="module")
def trained(work, keys):
    """Checkpoints of a one-epoch TINYNET, made by the old zoo's README command."""
    process = drivers.start(
        "train.py",
        "--model_name=TINYNET",
        "--log_interval=10",
        "--valid_interval=1",
        "--use_gpu=True",
        f"--save_dir={work / 'checkpoints'}",
        "--fix_random_seed=False",
        "--pretrain=none",
        *keys,
    )
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert "running on the CPU" in output  # --use_gpu=True on a CPU-only Paddle: a notice, not a crash
    return work / "checkpoints"


@pytest.mark.parametrize(
    "words",
    [
        [
            "--model_name=STNET",
            "--config=./configs/stnet.txt",
            "--log_interval=10",
            "--valid_interval=1",
            "--pretrain=none",
        ],
        [
            "--model-name=stnet",
            "--config=configs/stnet.txt",
            "--epoch=1",
            "--log-interval=10",
            "--valid-interval=0",
            "--pretrain=none",
            "--no-use-pyreader",
            "--no-memory-optimize",
            "--no-report",
        ],
        [
            "--model_name",
            "TSN",
            "--epoch-num",
            "1",
            "--learning-rate",
            "0.02",
            "--batch-size",
            "2",
            "--use-gpu",
            "False",
            "--pretrain",
            "none",
            "--enable_ce=True",
            "--no_report",
        ],
    ],
    ids=["v1.4", "v1.3", "spaces"],
)
def test_train(words, keys, tmp_path, capsys):
    code, output = drivers.status(capsys, "train.py", f"--save_dir={tmp_path}", *keys, *words)
    assert code == 0, output
    name = "TSN" if "TSN" in words else "STNET"
    assert {f"{name}_epoch0.pdparams", f"{name}_epoch0.pdopt", f"{name}_epoch0.json"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert (
        "[TRAIN] Epoch 0, iter 0 \tLoss: " in output
        and "top1_acc: " in output
        and "Epoch 0 training finished, average time: " in output
    )
    assert ("[TEST] Finish\tLoss: " in output) == ("--valid-interval=0" not in words)


@pytest.mark.parametrize("program", ["test.py", "eval.py"])
def test_test(program, trained, work, keys, tmp_path, capsys):
    code, output = drivers.status(
        capsys,
        program,
        "--model_name=TINYNET",
        "--log_interval=1",
        f"--weights={trained / 'TINYNET_best'}",
        "--use_gpu=False",
        f"--save_dir={tmp_path}",
        *keys,
    )
    assert code == 0, output
    assert "[EVAL] Batch 0\tLoss: " in output and "[EVAL] eval finished. " in output and "scored 4 of 4" in output
    rows = list(csv.DictReader((tmp_path / "TINYNET_per_class.csv").open(encoding="utf-8")))
    assert [row["name"] for row in rows] == ["dark room", "bright room"] and [row["clips"] for row in rows] == [
        "2",
        "2",
    ]
    result = json.loads((tmp_path / "TINYNET_test_result.json").read_text())
    assert result["scored"] == result["listed"] == 4 and set(result) >= {"loss", "top1", "top2"}


@pytest.mark.parametrize("program", ["infer.py", "predict.py"])
def test_infer_from_a_list(program, trained, work, tmp_path, capsys):
    """Without a --config the checkpoint brings its own, and the names with it."""
    code, output = drivers.status(
        capsys,
        program,
        "--model_name=tinynet",
        "--log_interval=1",
        f"--weights={trained / 'TINYNET_best.pdparams'}",
        f"--filelist={work / 'clips' / 'clips.list'}",
        "--video_path=",
        f"--save_dir={tmp_path}",
    )
    assert code == 0, output
    with open(tmp_path / "TINYNET_infer_result", "rb") as file:
        results = pickle.load(file)
    assert [row[0] for row in results] == [f"clip {i} (é).mp4" for i in range(4)]
    name, probabilities, indices = results[0]
    assert (
        sorted(indices) == [0, 1]
        and probabilities == sorted(probabilities, reverse=True)
        and sum(probabilities) == pytest.approx(1)
    )
    rows = list(csv.DictReader((tmp_path / "TINYNET_infer_result.csv").open(encoding="utf-8")))
    assert rows[0]["name"] in ("dark room", "bright room") and len(rows) == 8
    assert json.loads((tmp_path / "TINYNET_infer_result.json").read_text(encoding="utf-8"))[0]["indices"] == indices
    assert "dark room" in output


def test_infer_files_and_folders_and_report_the_broken_ones(trained, work, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    code, output = drivers.status(
        capsys,
        "infer.py",
        f"--weights={trained}",
        "--model_name=TINYNET",
        f"--video_path={work / 'clips'}",
        f"--video_path={broken}",
        f"--save_dir={tmp_path}",
        "--infer_topk=1",
    )
    assert (
        code == 1 and "classified 4 of 5" in output and output.count("not classified: ") == 1 and str(broken) in output
    )
    rows = json.loads((tmp_path / "TINYNET_infer_result.json").read_text(encoding="utf-8"))
    assert len(rows) == 5 and "error" in rows[4] and len(rows[0]["indices"]) == 1


def test_broken_clips_in_a_list_are_counted(trained, work, keys, tmp_path, capsys):
    folder = tmp_path / "clips"
    path = tiny.make_clips(folder, count=4)
    (folder / "bad one.mp4").write_bytes(b"")
    path.write_text("bad one.mp4 0\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    overrides = tiny.flags(tiny.lists(path))
    code, output = drivers.status(
        capsys,
        "test.py",
        "--model_name=TINYNET",
        f"--weights={trained / 'TINYNET_best'}",
        f"--save_dir={tmp_path}",
        *keys,
        *overrides,
    )
    assert code == 1 and "scored 4 of 5" in output
    code, output = drivers.status(
        capsys,
        "train.py",
        "--model_name=TINYNET",
        "--pretrain=none",
        f"--save_dir={tmp_path}",
        *keys,
        *overrides,
        "-o",
        "TRAIN.batch_size=1",
    )
    assert code == 0 and "1 of 5 train samples cannot be read" in output
    rows = list(csv.DictReader((tmp_path / "bad_samples.csv").open(encoding="utf-8")))
    assert {(row["list"], row["sample"]) for row in rows} == {("train", "bad one.mp4"), ("valid", "bad one.mp4")}


def test_an_unreadable_validation_list_costs_no_epoch(keys, tmp_path, capsys):
    broken = tmp_path / "broken.list"
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    broken.write_text("broken.mp4 0\n")
    code, output = drivers.status(
        capsys,
        "train.py",
        "--model_name=TINYNET",
        "--pretrain=none",
        f"--save_dir={tmp_path / 'save'}",
        *keys,
        "-o",
        f"VALID.filelist={broken}",
    )
    assert (
        code == 2
        and "nothing was scored: none of the 1 listed samples can be read" in output
        and "broken.mp4" in output
    )
    assert (tmp_path / "save" / "TINYNET_epoch0.json").exists() and (tmp_path / "save" / "bad_samples.csv").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["train.py", "--model_name=stnett"], "unknown model 'stnett'; did you mean 'STNET'?"),
        (["train.py", "--model_nam=TSN", "--modle_name=TSN"], "did you mean --model_name?"),
        (["train.py", "--model_name=TSN", "--use_gpu=perhaps"], "'perhaps' is neither True nor False"),
        (["train.py", "--model_name=TSN", "-o", "TRAIN.batch_sise=2"], "did you mean 'batch_size'?"),
        (["train.py", "--model_name=TSN", "-o", "epoch"], "expected SECTION.key=value"),
        (
            ["train.py", "--model_name=TSN", "-o", "TRAIN.filelist=nowhere.list"],
            "'nowhere.list' does not exist (asked for by TRAIN.filelist)",
        ),
        (["test.py", "--model_name=TSN", "--weights=nowhere"], "nowhere"),
        (
            ["infer.py", "--model_name=TSN", "--video_path=README.md"],
            "--weights is not given, and the released weights of TSN know 400",
        ),
        (["infer.py", "--model_name=TSN", "--infer_topk=0"], "'0' is not a whole number of at least 1"),
        (
            ["train.py", "--model_name=TSN", "--pretrain=none", "--save_dir=README.md"],
            "--save_dir 'README.md' cannot be created as a folder",
        ),
        (
            ["test.py", "--model_name=TSN", "--save_dir=README.md/x"],
            "--save_dir 'README.md/x' cannot be created as a folder",
        ),
        (["infer.py", "--config=nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (["infer.py", "--config=configs"], "--config 'configs' is a folder"),
        (
            ["test.py", "--model_name=TSN", "--weights="],
            "'' is empty; give a path or an address, or leave the flag out",
        ),
    ],
)
def test_wrong_command_lines(words, message, keys, capsys):
    extra = [] if "TRAIN.filelist=nowhere.list" in words else keys
    code, output = drivers.status(capsys, words[0], *extra, *words[1:])
    assert code == 2 and message in output and "Traceback" not in output


@pytest.mark.parametrize(
    "words, message",
    [
        (["train.py", "--resume=no/where"], "weights 'no/where' do not exist"),
        (["train.py", "--pretrain=no/where"], "weights 'no/where' do not exist"),
        (["test.py", "--weights=no/where"], "weights 'no/where' do not exist"),
        (["infer.py", "--weights=no/where"], "weights 'no/where' do not exist"),
        (["infer.py", "--weights={trained}", "--video_path=no/where"], "--video_path 'no/where' does not exist"),
        (
            ["infer.py", "--weights={trained}", "-o", "INFER.filelist=no/where"],
            "list 'no/where' does not exist (asked for by INFER.filelist); "
            "give --video_path with clips or a folder, or --filelist with a list",
        ),
        (
            ["test.py", "--weights={trained}", "-o", "TEST.filelist={pipe}"],
            "list '{pipe}' is a pipe or a device; expected a file",
        ),
        (["test.py", "--weights={trained}", "-o", "TEST.filelist=/dev/zero"], "list '/dev/zero' is a pipe or a device"),
        (
            ["infer.py", "--weights={trained}", "--model_name=STNET"],
            "holds checkpoints of TINYNET, none of STNET; name one, such as '",
        ),
        (["infer.py", "--weights=no/where", "--model_name="], "weights 'no/where' do not exist"),
        (
            ["train.py", "--resume={weights}", "--model_name="],
            "which model? '{weights}' does not say (checkpoints of this zoo do); give ",
        ),
    ],
)
def test_what_is_missing_is_noticed_before_a_graph_is_built(words, message, keys, trained, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "some.pdparams").write_bytes(pickle.dumps({}))
    known = {"trained": trained, "pipe": tmp_path / "pipe", "weights": tmp_path / "some.pdparams"}
    *words, message = (word.format(**known) for word in (*words, message))
    words = [words[0], "--model_name=TINYNET", *keys, *words[1:], f"--save_dir={tmp_path}"]
    with drivers.calls(Graph.__init__) as built:
        code, output = drivers.status(capsys, *words)
    assert code == 2 and message in output and not built


def test_names_that_are_no_text(trained, work, tmp_path):
    """A file's name may be bytes that no screen can show; its results are written all the same."""
    clip = os.fsencode(tmp_path) + b"/caf\xe9.mp4"
    shutil.copyfile(work / "clips" / "clip 0 (é).mp4", clip)
    process = drivers.start(
        "infer.py",
        "--model_name=TINYNET",
        f"--weights={trained}",
        f"--video_path={tmp_path}",
        f"--save_dir={tmp_path / 'out'}",
    )
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "caf\\udce9.mp4 , topk(2)" in output, output
    (row,) = json.loads((tmp_path / "out" / "TINYNET_infer_result.json").read_text(encoding="utf-8"))
    assert os.fsencode(row["id"]) == clip and len(row["names"]) == 2


def test_results_that_cannot_be_written(trained, work, tmp_path, capsys, monkeypatch):
    """One sentence, not a traceback; and `| head` ends a program in silence."""
    for program, words, name in (
        ("infer.py", [f"--video_path={work / 'clips'}"], "TINYNET_infer_result"),
        ("test.py", ["-o", f"TEST.filelist={work / 'clips' / 'clips.list'}"], "TINYNET_per_class.csv"),
    ):
        (tmp_path / program / name / "in the way").mkdir(parents=True)
        code, output = drivers.status(
            capsys, program, f"--weights={trained}", f"--save_dir={tmp_path / program}", *words
        )
        assert (
            code == 2
            and f"{name}' cannot be written (" in output
            and "name another --save_dir" in output
            and "Traceback" not in output
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    words = [*drivers.command("infer.py", "--model_name=TINYNET"), f"--weights={trained}"]
    line = f"{shlex.join(words)} --video_path='{work / 'clips'}' --save_dir=~/out"
    done = subprocess.run(["bash", "-c", f"{line} | head -1"], capture_output=True, text=True, timeout=120, check=False)
    assert not done.stderr and (tmp_path / "out" / "TINYNET_infer_result").is_file() and not (tmp_path / "~").exists()


def test_a_finished_training_says_so(trained, keys, tmp_path, capsys):
    code, output = drivers.status(
        capsys, "train.py", f"--resume={trained}", "--epoch=1", f"--save_dir={tmp_path}", *keys
    )
    assert code == 0 and "nothing to do: 1 of TRAIN.epoch '1' epochs are done; raise it with --epoch" in output, output
    assert (
        f"weights '{trained / 'TINYNET_latest'}': loaded 12 of 12" in output
        and f"epoch 0, stays in '{trained}'" in output
    )


def test_a_lost_optimizer_is_not_passed_over(trained, keys, tmp_path, capsys):
    parameters, _, state = checkpoint.load(trained / "TINYNET_latest")
    checkpoint.save(tmp_path / "TINYNET_latest", parameters, {}, state)
    code, output = drivers.status(
        capsys, "train.py", f"--resume={tmp_path}", "--epoch=1", f"--save_dir={tmp_path}", *keys
    )
    assert code == 0 and "lacks 8 of 8 tensors of the optimizer, which start anew: " in output, output


def test_a_listed_folder_is_called_one(trained, tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    (tmp_path / "infer.list").write_text("clips\n")
    code, output = drivers.status(
        capsys,
        "infer.py",
        f"--weights={trained}",
        "--model_name=TINYNET",
        f"--filelist={tmp_path / 'infer.list'}",
        f"--save_dir={tmp_path}",
    )
    assert code == 1 and "is a folder; expected a file" in output


@pytest.mark.parametrize("program, ready", [("test.py", "[EVAL] Batch 0"), ("infer.py", "differs from its recipe")])
def test_interrupting_leaves_one_sentence_and_no_half_results(program, ready, trained, work, tmp_path):
    lines = (work / "clips" / "clips.list").read_text(encoding="utf-8").splitlines()
    (work / "clips" / "long.list").write_text("\n".join(lines * 5000) + "\n", encoding="utf-8")
    section = program.removesuffix(".py").upper()
    process = drivers.start(
        program,
        "--model_name=TINYNET",
        f"--weights={trained / 'TINYNET_best'}",
        f"--save_dir={tmp_path}",
        "-o",
        f"{section}.filelist={work / 'clips' / 'long.list'}",
    )
    for line in process.stdout:
        if ready in line:
            break
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert (
        process.returncode == 130
        and "Traceback" not in output
        and output.rstrip().splitlines()[-1].startswith("interrupted; ")
    ), output
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_weights_of_another_class_count(trained, work, keys, tmp_path, capsys):
    """An error when testing; when fine-tuning the classifier starts anew, loudly."""
    three = [*keys, "-o", "MODEL.num_classes=3", "-o", "MODEL.class_names=None"]
    code, output = drivers.status(
        capsys, "test.py", "--model_name=TINYNET", f"--weights={trained / 'TINYNET_best'}", *three
    )
    assert code == 2 and "another number of classes" in output and "fc_0.w_0" in output
    code, output = drivers.status(
        capsys,
        "train.py",
        "--model_name=TINYNET",
        f"--resume={trained / 'TINYNET_best'}",
        f"--save_dir={tmp_path}",
        *three,
    )
    assert code == 0 and "the classifier starts anew" in output and "fc_0.w_0 [8, 2] -> [8, 3]" in output


def test_false_means_false():
    """Quirk 14: any text after --use-gpu meant True."""
    assert [cli.boolean(text) for text in ("False", "0", "no", "true", "1")] == [False, False, False, True, True]


@pytest.mark.parametrize("program", ["train.py", "test.py", "infer.py", "export.py"])
def test_help(program, capsys):
    code, output = drivers.status(capsys, program, "--help")
    assert code == 0 and "--model_name" in output and "python " + program in output


@pytest.mark.parametrize(
    "mode, program", [("train", "train.py"), ("test", "test.py"), ("infer", "infer.py"), ("infer", "export.py")]
)
def test_summary_needs_neither_data_nor_weights(mode, program, capsys):
    code, output = drivers.status(
        capsys, program, "--model_name=tsn", "--summary", "-o", f"{mode}.seg_num=2", "-o", f"{mode}.filelist=no.list"
    )
    assert code == 0 and f"TSN, {mode}: 24,327,632 trained parameters, 8.1" in output and "97.5 MB of weights" in output
