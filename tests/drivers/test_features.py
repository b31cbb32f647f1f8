"""Every command with the three feature models: both kinds of shards, several classes for a video, exact resuming."""

import csv
import json
import logging
import pickle

import numpy as np
import pytest

from datareader.features.examples import parse_sequence_example
from datareader.features.tfrecord import records
from dataset.youtube8m import synthetic
from engine import Predictor
from engine.configuration import configure
from engine.trainer import Trainer
from support import drivers, tiny

CLASSES = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Lists `train` (12 videos, pickles) and `val` (7 videos, TFRecords), and a vocabulary."""
    folder = tmp_path_factory.mktemp("features")
    small = {"train": 12, "val": 7, "shard": 4, "classes": CLASSES, "frames": 5}
    train, _ = synthetic.make(folder / "pkl", "pkl", **small)
    _, val = synthetic.make(folder / "tf", "tfrecord", **small)
    rows = [f'{i},10,/m/{i},{"" if i == 2 else f"Thing {i}"},https://x,,,,"one, two\nthree"' for i in range(CLASSES)]
    header = "Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,Vertical1,Vertical2,Vertical3,WikiDescription"
    (folder / "vocabulary.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return {
        "train": train,
        "val": val,
        "vocabulary": folder / "vocabulary.csv",
        "val shard": folder / "tf/val/val0000.tfrecord",
    }


def keys(name, data):
    lists = {
        f"{section}.filelist": data["train" if section == "TRAIN" else "val"]
        for section in ("TRAIN", "VALID", "TEST", "INFER")
    }
    sizes = {f"{section}.batch_size": 4 for section in ("TRAIN", "VALID", "TEST", "INFER")}
    return {
        **tiny.FEATURES[name],
        **lists,
        **sizes,
        "MODEL.num_classes": CLASSES,
        "MODEL.topk": 5,
        "MODEL.class_names": data["vocabulary"],
        "TRAIN.epoch": 1,
    }


def train(name, data, save_dir, resume=None, **overrides):
    model, config = configure(name, None, {**{key: str(value) for key, value in keys(name, data).items()}, **overrides})
    trainer = Trainer(model, config, save_dir, log_interval=1, pages=False)
    trainer.start(resume=resume)
    trainer.fit()
    return save_dir


@pytest.fixture(scope="module", params=tiny.FEATURES)
def trained(request, data, tmp_path_factory):
    """(model name, checkpoint) of one epoch."""
    save_dir = train(request.param, data, tmp_path_factory.mktemp("trained"))
    return request.param, save_dir / f"{request.param}_epoch0"


any_model = pytest.mark.parametrize("trained", ["AttentionCluster"], indirect=True)  # where they share all the code


def test_train(data, tmp_path, capsys):
    name = "AttentionCluster"
    code, output = drivers.status(
        capsys,
        "train.py",
        f"--model_name={name.lower()}",
        f"--save_dir={tmp_path}",
        "--log_interval=1",
        *tiny.flags(keys(name, data)),
    )
    assert code == 0, output
    assert (
        "[TRAIN] Epoch 0, iter 0  , loss = " in output
        and "Hit@1 = " in output
        and "PERR = " in output
        and "GAP = " in output
    )
    assert "[TEST] Finish\tavg_hit_at_one: " in output and "\tgap:" in output and "scored 7 of 7" in output
    assert "the best so far: valid_gap" in output
    state = json.loads((tmp_path / f"{name}_best.json").read_text(encoding="utf-8"))
    assert state["steps_per_epoch"] == 3 and state["class_names"][:3] == ["Thing 0", "Thing 1", "/m/2"]


def test_two_epochs_are_one_and_a_resumed_one(trained, data, tmp_path):
    """The seed was drawn, and comes with the checkpoint."""
    name, first_epoch = trained
    seed = json.loads(first_epoch.with_suffix(".json").read_text(encoding="utf-8"))["seed"]
    train(name, data, tmp_path / "whole", **{"TRAIN.epoch": 2, "TRAIN.seed": seed})
    train(name, data, tmp_path / "resumed", resume=first_epoch, **{"TRAIN.epoch": 2})
    for file in (f"{name}_epoch1.pdparams", f"{name}_epoch1.pdopt"):
        with open(tmp_path / "whole" / file, "rb") as one, open(tmp_path / "resumed" / file, "rb") as other:
            first, second = pickle.load(one), pickle.load(other)
        assert set(first) == set(second) and first
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)


def test_test(trained, tmp_path, capsys):
    """The checkpoint brings configuration and names; the short last batch is scored (quirk 11)."""
    name, weights = trained
    code, output = drivers.status(
        capsys, "test.py", f"--model_name={name}", f"--weights={weights}", f"--save_dir={tmp_path}"
    )
    assert code == 0 and "[EVAL] eval finished. \tavg_hit_at_one: " in output and "scored 7 of 7" in output, output
    rows = list(csv.DictReader((tmp_path / f"{name}_per_class.csv").open(encoding="utf-8")))
    counts = np.bincount(
        sum((example["labels"] for example in synthetic.videos("val", 7, CLASSES, 5)), []), minlength=CLASSES
    )
    assert [row["name"] for row in rows][:3] == ["Thing 0", "Thing 1", "/m/2"]
    assert [int(row["videos"]) for row in rows] == counts.tolist()
    assert all((row["average_precision"] == "") == (row["videos"] == "0") for row in rows)
    result = json.loads((tmp_path / f"{name}_test_result.json").read_text())
    assert result["scored"] == result["listed"] == 7 and set(result) >= {"loss", "hit_at_one", "perr", "gap", "map"}
    written = ("per_class.csv", "precision_recall.png", "report.html", "score_histogram.png", "test_result.json")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [f"{name}_{each}" for each in written]


def test_infer_from_the_list_and_from_arrays(trained, data, tmp_path, capsys):
    name, weights = trained
    code, output = drivers.status(
        capsys,
        "infer.py",
        f"--model_name={name}",
        f"--weights={weights}",
        f"--save_dir={tmp_path}",
        "--infer_topk=6",
        "--video_path=",
    )
    assert code == 0 and "classified 7 of 7" in output and "class: Thing " in output, output
    with open(tmp_path / f"{name}_infer_result", "rb") as file:
        results = pickle.load(file)
    assert [row[0] for row in results] == [f"val_{i:05d}" for i in range(7)]
    assert sorted(results[0][2]) == list(range(CLASSES)) and results[0][1] == sorted(results[0][1], reverse=True)

    videos = [parse_sequence_example(record) for record in records(data["val shard"])]
    predictor = Predictor(name, weights=weights)
    stored = predictor.run({feature: [video[feature] for video in videos] for feature in ("rgb", "audio")})[
        "probabilities"
    ]
    offset = 2 if name == "NEXTVLAD" else 2 - 4 / 512
    floats = {
        "rgb": [video["rgb"] * (4 / 255) - offset for video in videos],
        "audio": [video["audio"] * (4 / 255) - (2 - 4 / 512) for video in videos],
    }
    for row, (_, probabilities, classes) in enumerate(results[: len(videos)]):
        np.testing.assert_allclose(stored[row, classes], probabilities, atol=1e-5)
    np.testing.assert_allclose(predictor.run(floats)["probabilities"], stored, atol=1e-5)


@any_model
def test_shards_and_folders_of_them_on_the_command_line(trained, data, tmp_path, capsys):
    """Complaint 42: what is --video_path, if the model reads features?"""
    name, weights = trained
    words = ["infer.py", f"--model_name={name}", f"--weights={weights}", f"--save_dir={tmp_path}"]
    code, output = drivers.status(capsys, *words, f"--video_path={data['val shard'].parent}")
    assert code == 0 and "classified 7 of 7" in output
    (tmp_path / "run.mp4").touch()
    code, output = drivers.status(capsys, *words, f"--video_path={tmp_path / 'run.mp4'}")
    assert code == 2 and "run.mp4' is a clip, but this model classifies YouTube-8M features" in output


@any_model
def test_bad_videos_and_shards_are_counted_and_listed(trained, data, tmp_path, capsys, caplog):
    name, weights = trained
    content = data["val shard"].read_bytes()
    (tmp_path / "cut.tfrecord").write_bytes(content[:-100])
    (tmp_path / "kinetics.pkl").write_bytes(pickle.dumps(("./abc", 3, [b"\xff\xd8"]), 2))
    (tmp_path / "good.tfrecord").write_bytes(content)
    path = tmp_path / "mixed.list"
    path.write_text("cut.tfrecord\nkinetics.pkl\ngood.tfrecord\n", encoding="utf-8")
    words = [f"--model_name={name}", f"--weights={weights}", f"--save_dir={tmp_path}"]
    code, output = drivers.status(capsys, "test.py", *words, "-o", f"TEST.filelist={path}")
    assert (
        code == 1
        and "scored 7 of 9" in output
        and "the file ends inside the record" in output
        and "is a Kinetics clip" in output
    )
    code, output = drivers.status(capsys, "infer.py", *words, f"--filelist={path}")
    assert code == 1 and "classified 7 of 9" in output and output.count("not classified: ") == 2
    with caplog.at_level(logging.WARNING, "zoo"):
        train(
            name, {**data, "train": path}, tmp_path, **{"TRAIN.batch_size": 3}
        )  # 9 of 9 are visited, whatever the seed
    rows = list(csv.DictReader((tmp_path / "bad_samples.csv").open(encoding="utf-8")))
    assert [row["sample"] for row in rows] == ["cut.tfrecord, record 3", "kinetics.pkl"]


def test_nextvlad_says_where_eigenvalues_come_from_and_weights_need_none(data, tmp_path, capsys):
    words = ["--model_name=NEXTVLAD", f"--save_dir={tmp_path}", *tiny.flags(keys("NEXTVLAD", data))]
    nowhere = ["-o", "MODEL.eigen_file=nowhere.npy"]
    code, output = drivers.status(capsys, "train.py", *words, *nowhere)
    assert code == 2 and "MODEL.eigen_file 'nowhere.npy'" in output and "set it to none" in output
    train("NEXTVLAD", data, tmp_path)
    code, output = drivers.status(capsys, "test.py", *words, *nowhere, f"--weights={tmp_path / 'NEXTVLAD_latest'}")
    assert code == 0, output


def test_too_few_classes_for_the_labels(data, tmp_path, capsys):
    code, output = drivers.status(
        capsys,
        "train.py",
        "--model_name=AttentionCluster",
        f"--save_dir={tmp_path}",
        *tiny.flags({**keys("AttentionCluster", data), "MODEL.num_classes": 2, "MODEL.class_names": None}),
    )
    assert code == 2 and "training samples cannot be read, more than half: " in output and "is not in 0..1" in output
