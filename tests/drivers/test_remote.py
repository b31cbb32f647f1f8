"""Training, testing and inferring with lists, clips, checkpoints and results in a bucket."""

import json
import pickle
import re

import numpy as np
import pytest
import yaml

from dataset.youtube8m import synthetic
from engine.checkpoints import files as checkpoint
from engine.checkpoints import remote
from storage import addresses, cache
from support import drivers, tiny
from support.s3 import s3  # noqa: F401  (fixture)
from utils.config import reading as config
from utils.errors import CheckpointError, RemoteError


@pytest.fixture
def bucket(s3, tmp_path):  # noqa: F811
    """The server with clips/clips.list and its clips, and classes.txt."""
    tiny.make_clips(tmp_path / "clips", count=4)
    s3.upload(tmp_path / "clips", "clips")
    s3.put(b"dark room\nbright room\n", "classes.txt")
    return s3


def keys(bucket, **more):
    return tiny.flags(
        {
            **tiny.TINY,
            **tiny.lists(bucket.url("clips/clips.list")),
            "MODEL.class_names": bucket.url("classes.txt"),
            "TRAIN.seed": 7,
            **more,
        }
    )


def test_clips_checkpoint_and_results_in_a_bucket(bucket, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = bucket.url("run")
    code, output = drivers.status(
        capsys, "train.py", "--model_name=TINYNET", "--pretrain=none", f"--save_dir={run}", *keys(bucket)
    )
    assert code == 0, output
    checkpoints = {f"TINYNET_{name}{ending}" for name in ("epoch0", "latest", "best") for ending in checkpoint.ENDINGS}
    assert checkpoints <= set(bucket.names("run"))
    assert not list((tmp_path / "cache" / "outgoing").rglob("*.*")) and "hush-hush" not in output
    assert f"no log file, for '{run}' is an address" in output

    bucket.put((tmp_path / "clips" / "clips.list").read_bytes() + b"absent.mp4 0\n", "clips/more.list")
    code, output = drivers.status(
        capsys,
        "infer.py",
        f"--weights={run}",
        "--model_name=TINYNET",
        f"--filelist={bucket.url('clips/more.list')}",
        f"--save_dir={run}/results",
    )
    assert (
        code == 1
        and "classified 4 of 5" in output
        and "clips/absent.mp4': cannot be fetched (no such object)" in output
    )
    results = pickle.loads(bucket.read("run/results/TINYNET_infer_result"))
    assert [row[0] for row in results] == [f"clip {i} (é).mp4" for i in range(4)]
    rows = json.loads(bucket.read("run/results/TINYNET_infer_result.json"))
    assert rows[0]["names"][0] in ("dark room", "bright room") and "no such object" in rows[4]["error"]
    code, output = drivers.status(
        capsys,
        "infer.py",
        f"--weights={run}/TINYNET_best.pdparams",
        f"--video_path={bucket.url('clips')}",
        f"--save_dir={tmp_path / 'out'}",
    )
    assert code == 0 and "classified 4 of 4" in output


def test_an_exported_model_in_a_bucket(bucket, tmp_path, capsys, monkeypatch):
    """It used to be written into a local folder called `s3:`."""
    monkeypatch.chdir(tmp_path)
    words = ["--model_name=TINYNET", *keys(bucket)]
    code, output = drivers.status(
        capsys, "train.py", "--pretrain=none", f"--save_dir={tmp_path / 'run'}", "--valid_interval=0", *words
    )
    assert code == 0, output
    folder = bucket.url("exported")
    code, output = drivers.status(
        capsys, "export.py", f"--weights={tmp_path / 'run'}", f"--save_dir={folder}", "--model_name=TINYNET"
    )
    assert code == 0 and f"save inference model at {folder}" in output and not (tmp_path / "s3:").exists()
    for name in bucket.names("exported"):
        (tmp_path / "local").mkdir(exist_ok=True)
        (tmp_path / "local" / name).write_bytes(bucket.read(f"exported/{name}"))
    clip = tmp_path / "clips" / "clip 0 (é).mp4"
    code, output = drivers.status(
        capsys, "infer.py", f"--exported={tmp_path / 'local'}", f"--video_path={clip}", f"--save_dir={tmp_path / 'out'}"
    )
    assert code == 0 and "classified 1 of 1" in output


def test_shards_resuming_and_scores_in_a_bucket(s3, tmp_path, capsys, monkeypatch):  # noqa: F811
    """With a cache that holds hardly anything, so that what is needed again is fetched again."""
    monkeypatch.setenv("ZOO_CACHE_GB", "0.00001")
    synthetic.make(tmp_path / "data", "pkl", train=12, val=4, shard=4, classes=6, frames=5)
    synthetic.make(tmp_path / "data", "tfrecord", train=4, val=7, shard=4, classes=6, frames=5)
    for folder in ("train", "val"):
        s3.upload(tmp_path / "data" / folder, folder)
    s3.put(
        "\n".join(sorted(f"train/{name}" for name in s3.names("train") if not name.endswith(".list"))).encode(),
        "train.list",
    )
    s3.put(
        "\n".join(sorted(f"val/{name}" for name in s3.names("val") if name.endswith(".tfrecord"))).encode(), "val.list"
    )
    settings = {
        "MODEL.seg_num": 4,
        "MODEL.cluster_nums": "[2, 2]",
        "MODEL.hidden_sizes": "[16, 16]",
        "MODEL.num_classes": 6,
        "MODEL.topk": 5,
        "TRAIN.filelist": s3.url("train.list"),
        "TRAIN.batch_size": 4,
        "TRAIN.seed": 7,
        **{
            f"{section}.{key}": value
            for section in ("VALID", "TEST")
            for key, value in (("filelist", s3.url("val.list")), ("batch_size", 4))
        },
    }
    s3.put(yaml.safe_dump(config.nested(settings)).encode(), "own.yaml")
    common = ["--model_name=AttentionCluster", f"--config={s3.url('own.yaml')}"]
    resume = [f"--resume={s3.url('run/AttentionCluster_latest')}", "--keep_checkpoints=1"]
    for folder, epochs, more in (("whole", 2, []), ("run", 1, []), ("run", 2, resume)):
        words = [f"--epoch={epochs}", f"--save_dir={s3.url(folder)}", "--no_report", *more]
        code, output = drivers.status(capsys, "train.py", *common, *words)
        assert code == 0, output
    assert "epoch 1, batch 0" in output and not [name for name in s3.names("run") if "epoch0" in name]
    (one, _, _), (other, _, _) = (
        checkpoint.load(s3.url(f"{folder}/AttentionCluster_latest")) for folder in ("whole", "run")
    )
    assert one and all((one[name] == other[name]).all() for name in one)
    code, output = drivers.status(
        capsys, "test.py", *common, f"--weights={s3.url('run')}", f"--save_dir={s3.url('scores')}"
    )
    assert code == 0 and "scored 7 of 7" in output
    written = ("per_class.csv", "precision_recall.png", "report.html", "score_histogram.png", "test_result.json")
    assert s3.names("scores") == [f"AttentionCluster_{each}" for each in written]


def test_training_from_a_bucket_is_training_from_a_folder(bucket, tmp_path, capsys):
    for source, save_dir in ((bucket.url("clips/clips.list"), "a"), (tmp_path / "clips" / "clips.list", "b")):
        code, output = drivers.status(
            capsys,
            "train.py",
            "--model_name=TINYNET",
            "--pretrain=none",
            f"--save_dir={tmp_path / save_dir}",
            "--valid_interval=0",
            "--no_report",
            *keys(bucket, **{"TRAIN.filelist": source}),
        )
        assert code == 0, output
    (one, _, _), (other, _, _) = (checkpoint.load(tmp_path / folder / "TINYNET_epoch0") for folder in "ab")
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_an_absent_clip_is_replaced_in_training(bucket, tmp_path, capsys):
    bucket.put(b"absent.mp4 0\n" + (tmp_path / "clips" / "clips.list").read_bytes(), "clips/more.list")
    code, output = drivers.status(
        capsys,
        "train.py",
        "--model_name=TINYNET",
        "--pretrain=none",
        f"--save_dir={bucket.url('run')}",
        "--valid_interval=0",
        "--no_report",
        *keys(bucket, **{"TRAIN.filelist": bucket.url("clips/more.list"), "TRAIN.batch_size": 1}),
    )
    assert code == 0 and "1 of 5 train samples cannot be read" in output
    code, output = drivers.status(
        capsys,
        "train.py",
        "--model_name=TINYNET",
        "--check_data",
        f"--save_dir={bucket.url('check')}",
        *keys(bucket, **{"TRAIN.filelist": bucket.url("clips/more.list")}),
    )
    assert (
        code == 1
        and "1 of 9 cannot be read" in output
        and bucket.read("check/check_data.csv").count(b"no such object") == 1
    )
    assert b"absent.mp4,'s3://bucket/clips/absent.mp4': cannot be fetched (no such object)" in bucket.read(
        "run/bad_samples.csv"
    )


def test_a_server_that_goes_away_in_mid_epoch(bucket, tmp_path, monkeypatch):
    """The object is asked for as often as said, then named; what was trained is saved."""
    (tmp_path / "many").mkdir()
    lines = []
    for i in range(40):
        (tmp_path / "many" / f"{i}.mp4").write_bytes((tmp_path / "clips" / f"clip {i % 4} (é).mp4").read_bytes())
        lines.append(f"{i}.mp4 {i % 2}")
    (tmp_path / "many" / "all.list").write_text("\n".join(lines))
    bucket.upload(tmp_path / "many", "many")
    monkeypatch.setenv("ZOO_REMOTE_TRIES", "2")
    monkeypatch.setenv("ZOO_REMOTE_DELAY", "0.1")
    process = drivers.start(
        "train.py",
        "--model_name=TINYNET",
        "--pretrain=none",
        f"--save_dir={tmp_path / 'run'}",
        "--log_interval=1",
        "--valid_interval=0",
        "--no_report",
        *keys(bucket, **{"TRAIN.filelist": bucket.url("many/all.list"), "TRAIN.batch_size": 1}),
    )
    for line in process.stdout:
        if "Epoch 0, iter 0" in line:
            bucket.stop()
            break
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 2 and "Traceback" not in output, output
    assert re.search(r"mp4': .*; trying again, 2 of 2", output)
    assert re.search(
        r"error: RemoteError: 's3://bucket/many/\d+.mp4' cannot be fetched \(.*\) after 2 tries; check the network",
        output,
    )
    state = checkpoint.state_of(tmp_path / "run" / "TINYNET_latest")
    assert state["epoch"] == 0 and 1 <= state["batch"] < 40


def test_a_server_that_goes_away_costs_no_results(bucket, tmp_path, capsys, monkeypatch):
    """Validation keeps the epoch and chooses no best by a part of the list; test and infer write what they have."""
    monkeypatch.setenv("ZOO_REMOTE_TRIES", "1")
    local = [f"{tmp_path / 'clips' / f'clip {i} (é).mp4'} {i % 2}" for i in range(3)]
    mixed = tmp_path / "mixed.list"
    mixed.write_text("\n".join([*local, *(f"{bucket.url(f'clips/clip {i} (é).mp4')} {i % 2}" for i in range(3))]))
    (tmp_path / "names.txt").write_text("dark room\nbright room\n")
    common = [
        "--model_name=TINYNET",
        *keys(
            bucket,
            **{
                "MODEL.class_names": tmp_path / "names.txt",
                "TRAIN.filelist": mixed,
                "VALID.filelist": mixed,
                "TEST.filelist": mixed,
                "INFER.filelist": mixed,
            },
        ),
    ]
    bucket.stop()
    local_only = ["-o", f"TRAIN.filelist={tmp_path / 'clips' / 'clips.list'}"]
    code, output = drivers.status(
        capsys, "train.py", "--pretrain=none", f"--save_dir={tmp_path / 'run'}", *common, *local_only
    )
    assert code == 2 and "error: RemoteError: 's3://bucket/clips/" in output, output
    state = checkpoint.state_of(tmp_path / "run" / "TINYNET_latest")
    assert state["epoch"] == 1 and state["best"] is None and len(state["history"]) == 1
    weights = f"--weights={tmp_path / 'run' / 'TINYNET_latest'}"
    code, output = drivers.status(capsys, "test.py", weights, f"--save_dir={tmp_path / 'scores'}", *common)
    assert code == 1 and "scored 3 of 6" in output, output
    report = json.loads((tmp_path / "scores" / "TINYNET_test_result.json").read_text())
    assert report["scored"] == 3 and len(report["unreadable"]) == 3
    assert "since a connection was lost: 's3://bucket/clips/" in report["unreadable"][2]["error"]
    code, output = drivers.status(capsys, "infer.py", weights, f"--save_dir={tmp_path / 'out'}", *common)
    assert code == 1 and "classified 3 of 6" in output
    rows = json.loads((tmp_path / "out" / "TINYNET_infer_result.json").read_text())
    assert [("names" in row, "error" in row) for row in rows] == [(True, False)] * 3 + [(False, True)] * 3


STATE = {
    "format": 1,
    "epoch": 3,
    "batch": 0,
    "seed": 7,
    "steps_per_epoch": 2,
    "best": None,
    "history": [],
    "class_names": [],
    "config": {},
}


CHECKPOINT = [f"TINYNET_latest{ending}" for ending in (".json", ".pdopt", ".pdparams")]


def test_an_upload_that_fails_loses_nothing(bucket):
    bucket.stop()
    with pytest.raises(
        CheckpointError, match="TINYNET_latest' was not written: .*kept on this machine: --resume '.*outgoing"
    ) as caught:
        checkpoint.save(bucket.url("run/TINYNET_latest"), {"w": np.ones(3, np.float32)}, {}, STATE)
    kept = re.search(r"--resume '(.*)'", str(caught.value))[1]
    assert checkpoint.load(kept)[0]["w"].tolist() == [1, 1, 1]


def saved(prefix, value):
    checkpoint.save(prefix, {"w": np.full(3, value, np.float32)}, {"v": np.full(3, value, np.float32)}, STATE)


@pytest.mark.parametrize("failing", [".pdparams", ".pdopt"])
def test_an_upload_that_stops_half_way_leaves_the_earlier_checkpoint(bucket, tmp_path, failing):
    """It was lost, and its parameters, or the new ones, were taken for weights: resuming began a fine-tune."""
    prefix = bucket.url("run/TINYNET_latest")
    saved(prefix, 1)
    saved(tmp_path / "new", 2)

    def upload(ending, address):
        if ending == failing:
            raise RemoteError("gone")
        addresses.publish(f"{tmp_path / 'new'}{ending}", address)

    token, text = checkpoint.state_of(tmp_path / "new")["save"], (tmp_path / "new.json").read_bytes()
    with pytest.raises(CheckpointError, match="TINYNET_latest' was not written: gone; an earlier .* is intact; here"):
        remote.switch(prefix, token, upload, text, "; here")
    assert checkpoint.load(prefix)[0]["w"].tolist() == [1, 1, 1]
    remote.settle(bucket.url("run"), "TINYNET")
    assert bucket.names("run") == CHECKPOINT


def test_a_death_just_after_the_switch_leaves_the_new_checkpoint(bucket, tmp_path):
    prefix = bucket.url("run/TINYNET_latest")
    saved(prefix, 1)
    saved(tmp_path / "TINYNET_latest", 2)
    token = checkpoint.state_of(tmp_path / "TINYNET_latest")["save"]
    for ending, folder in ((".pdparams", f"run/.TINYNET_latest.{token}"), (".pdopt", "run"), (".json", "run")):
        bucket.put((tmp_path / f"TINYNET_latest{ending}").read_bytes(), f"{folder}/TINYNET_latest{ending}")
    cache.forget()
    assert checkpoint.load(prefix)[0]["w"].tolist() == [2, 2, 2]
    remote.settle(bucket.url("run"), "TINYNET")
    assert bucket.names("run") == CHECKPOINT and checkpoint.load(prefix)[0]["w"].tolist() == [2, 2, 2]
    checkpoint.link(prefix, bucket.url("run/TINYNET_best"), {**STATE, "epoch": 4})
    checkpoint.remove(prefix)
    parameters, _, state = checkpoint.load(bucket.url("run/TINYNET_best"))
    assert parameters["w"].tolist() == [2, 2, 2] and state["epoch"] == 4 and len(bucket.names("run")) == 3


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["train.py", "--pretrain=none", "--save_dir=s3://absent-bucket/x"],
            "--save_dir 's3://absent-bucket/x' cannot be written to: ",
        ),
        (
            ["train.py", "--pretrain=none", "--save_dir=https://127.0.0.1/x"],
            "only s3:// and gs:// addresses and local paths can",
        ),
        (
            ["train.py", "--pretrain=none", "-o", "TRAIN.filelist=s3://bucket/no.list"],
            "list 's3://bucket/no.list' cannot be fetched (no such object); check the address "
            "(asked for by TRAIN.filelist)",
        ),
        (
            ["train.py", "--pretrain=none", "-o", "TRAIN.filelist=s3://bucket/clips"],
            "'s3://bucket/clips' is a folder; expected a file",
        ),
        (
            ["test.py", "--weights=s3://bucket/run/TINYNET_best"],
            "'s3://bucket/run/TINYNET_best.pdparams' cannot be fetched (no such object)",
        ),
        (
            ["test.py", "--config=s3://bucket/no.yaml"],
            "config 's3://bucket/no.yaml' cannot be fetched (no such object)",
        ),
        (
            ["infer.py", "--weights=gs://bucket/TINYNET"],
            "gs:// need the package gcsfs, which is not installed: pip install gcsfs",
        ),
        (["infer.py", "--weights=ftp://bucket/TINYNET"], "addresses start with https://, http://, s3:// or gs://"),
    ],
)
def test_wrong_addresses_are_named(bucket, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, output = drivers.status(capsys, words[0], "--model_name=TINYNET", *keys(bucket), *words[1:])
    assert code == 2 and message in output and "Traceback" not in output
