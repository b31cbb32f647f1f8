"""Several processes under the launcher train what one process trains; they end together."""

import csv
import json
import os
import pickle
import signal

import numpy as np
import pytest

from dataset.youtube8m import synthetic
from engine.configuration import configure
from engine.graph.device import Device
from engine.graph.program import Graph
from support import drivers, launcher, tiny

CLASSES = 6


def state(prefix):
    return json.loads(prefix.with_suffix(".json").read_text(encoding="utf-8"))


def tensors(prefix, ending=".pdparams"):
    with open(f"{prefix}{ending}", "rb") as file:
        return pickle.load(file)


def assert_close(one, other, but=()):
    assert set(one) == set(other)
    for name in set(one) - set(but):
        np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-6, err_msg=name)


def together(*processes):
    """The printed texts of processes that must succeed, run at the same time."""
    return [launcher.done(process) for process in processes]


def train(model, save_dir, overrides, *more):
    return [
        "train.py",
        f"--model_name={model}",
        f"--save_dir={save_dir}",
        "--log_interval=1",
        "--no_report",
        *tiny.flags(overrides),
        *more,
    ]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Overrides for the feature models: 18 videos and one file that is none to train on, 9 and one to validate on."""
    folder = tmp_path_factory.mktemp("videos")
    lists = synthetic.make(folder / "pkl", "pkl", train=18, val=9, shard=4, classes=CLASSES, frames=5)
    for path in lists:
        (path.parent / f"broken_{path.stem}.pkl").write_bytes(b"no pickle")
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"broken_{path.stem}.pkl\n")
    return {
        "TRAIN.filelist": lists[0],
        "VALID.filelist": lists[1],
        "MODEL.num_classes": CLASSES,
        "MODEL.topk": 4,
        "TRAIN.seed": 5,
        "TRAIN.batch_size": 6,
        "VALID.batch_size": 4,
    }


ATTENTION_CLUSTER = {
    "MODEL.seg_num": 4,
    "MODEL.cluster_nums": "[2, 2]",
    "MODEL.hidden_sizes": "[16, 16]",
    "MODEL.drop_rate": 0,
    "TRAIN.epoch": 2,
    "TRAIN.learning_rate": 2e-4,
}
NEXTVLAD = {"MODEL.cluster_size": 4, "MODEL.hidden_size": 16, "MODEL.eigen_file": "none", "TRAIN.epoch": 2}
# Softmax over the frames does not see these: their gradients are rounding errors, which Adam makes steps of.
WITHOUT_EFFECT = {"satt0.conv.bias", "satt1.conv.bias"}


def calm_weights(path):
    """A TSN whose residual branches are weak: with batch norms that do not normalise, a fresh one explodes."""
    model, config = configure("TSN", None, {"MODEL.num_classes": 2, "MODEL.seg_num": 1})
    graph, device = Graph(model(config, "valid")), Device()
    device.initialise(graph, seed=1)
    weights = device.get(graph.parameters)
    path.write_bytes(
        pickle.dumps(
            {name: 0.1 * value if name.endswith("branch2c_scale") else value for name, value in weights.items()}, 2
        )
    )
    return path


def test_two_of_four_clips_are_one_of_eight(tmp_path):
    data = tiny.make_clips(tmp_path / "clips", count=40)
    weights = calm_weights(tmp_path / "calm.pdparams")
    overrides = {
        **tiny.TINY,
        **tiny.lists(data),
        "MODEL.seg_num": 1,
        "TRAIN.batch_size": 8,
        "TRAIN.seed": 3,
        "TRAIN.freeze_bn": True,
        "TRAIN.learning_rate": 1e-4,
    }
    words = [
        train("TSN", tmp_path / name, overrides, f"--resume={weights}", "--valid_interval=0") for name in ("two", "one")
    ]
    together(launcher.start(2, tmp_path, *words[0]), drivers.start(*words[1]))
    two, one = tmp_path / "two/TSN_epoch0", tmp_path / "one/TSN_epoch0"
    assert state(two)["step"] == 5
    start, trained = tensors(weights, ""), tensors(one)
    assert (
        max(np.abs(trained[name] - start[name]).max() for name in start) > 1e-4
    )  # the tolerance below is a hundredth of the way
    assert_close(tensors(two), trained)
    velocities, expected = tensors(two, ".pdopt"), tensors(one, ".pdopt")  # sums of gradients
    assert set(velocities) == set(expected)
    for name, value in expected.items():  # rounding may put single activations on the other side of a ReLU
        assert np.linalg.norm(velocities[name] - value) <= 1e-2 * np.linalg.norm(value), name
    assert state(two)["history"][0]["loss"] == pytest.approx(state(one)["history"][0]["loss"], rel=1e-6)


def test_two_processes_are_two_pieces_of_one_with_every_key_of_a_small_recipe(tmp_path):
    """Batch norms see the same halves of each batch, and the precise statistics are those of all of them."""
    data = tiny.make_clips(tmp_path / "clips", count=8)
    (tmp_path / "names.txt").write_text("left\nright\n")
    overrides = {**tiny.TINY, "TRAIN.filelist": data, "TRAIN.batch_size": 4, "TRAIN.seed": 3, **tiny.SMALL_RECIPE}
    overrides["MODEL.class_names"] = tmp_path / "names.txt"
    two, one = (train("TINYNET", tmp_path / name, overrides, "--valid_interval=0") for name in ("two", "one"))
    together(launcher.start(2, tmp_path, *two), drivers.start(*one, "-o", "TRAIN.accumulate_steps=2"))
    assert_close(tensors(tmp_path / "two/TINYNET_epoch0"), tensors(tmp_path / "one/TINYNET_epoch0"))


def test_three_processes_of_two_pieces_score_every_video_once(videos, tmp_path):
    overrides = {**videos, **ATTENTION_CLUSTER}
    pieces = ("-o", "TRAIN.accumulate_steps=2")
    output, _ = together(
        launcher.start(3, tmp_path, *train("AttentionCluster", tmp_path / "three", overrides, *pieces)),
        drivers.start(*train("AttentionCluster", tmp_path / "one", overrides)),
    )
    three, one = tmp_path / "three/AttentionCluster_epoch1", tmp_path / "one/AttentionCluster_epoch1"
    assert_close(tensors(three), tensors(one), WITHOUT_EFFECT)
    for parts, whole in zip(state(three)["history"], state(one)["history"], strict=True):
        speed = ("data_share", "samples_per_second", "seconds", "seconds_per_step")
        assert {key: value for key, value in parts.items() if key not in speed} == pytest.approx(
            {key: value for key, value in whole.items() if key not in speed}, rel=1e-5
        )
    assert "scored 9 of 10" in output
    rows = [
        sorted(csv.reader(open(tmp_path / name / "bad_samples.csv", encoding="utf-8"))) for name in ("three", "one")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 3


def test_resumed_by_as_many_processes_exactly_and_by_another_number(videos, tmp_path):
    overrides = {**videos, **NEXTVLAD}
    launcher.done(launcher.start(2, tmp_path, *train("NEXTVLAD", tmp_path / "whole", overrides)))
    first, last = tmp_path / "whole/NEXTVLAD_epoch0", tmp_path / "whole/NEXTVLAD_epoch1"
    resumed = train("NEXTVLAD", tmp_path / "resumed", overrides, f"--resume={first}")
    _, output = together(
        launcher.start(2, tmp_path, *resumed),
        drivers.start(*train("NEXTVLAD", tmp_path / "alone", overrides, f"--resume={first}")),
    )
    for ending in (".pdparams", ".pdopt"):
        for name, values in tensors(tmp_path / "resumed/NEXTVLAD_epoch1", ending).items():
            np.testing.assert_array_equal(values, tensors(last, ending)[name], err_msg=name)
    assert "epoch 1, batch 0, step 3" in output and "not exact" not in output
    alone = state(tmp_path / "alone/NEXTVLAD_epoch1")
    assert alone["step"] == 6 and len(alone["history"]) == 2


def test_killed_one_takes_the_others_along(videos, tmp_path):
    overrides = {**videos, **ATTENTION_CLUSTER, "TRAIN.epoch": 10**6}
    process = launcher.start(
        3, tmp_path, *train("AttentionCluster", tmp_path, overrides, "--valid_interval=0", "--keep_checkpoints=1")
    )
    for line in process.stdout:
        if "Epoch 1, iter 0" in line:
            break
    pids = launcher.workers(process)
    os.kill(pids[1], signal.SIGKILL)
    status, _ = launcher.finish(process, 60)
    assert status != 0 and len(pids) == 3 and all(launcher.gone(pid) for pid in pids)
    assert "process 1 of 3 died" in (tmp_path / "log/workerlog.0").read_text(encoding="utf-8")
