"""export.py and infer.py --exported: the same files as with weights, for the same clips, also broken ones and views."""

import json
import pickle
import shutil

import numpy as np
import pytest

from datareader.features.examples import sequence_example
from datareader.features.tfrecord import write
from dataset.youtube8m import synthetic
from engine.weights import formats
from support import drivers, networks, tiny

NAMES = ["clap", "jump high", "run", "sit", "walk", "wave"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Clips of which one is broken, a feature shard, class names, and weights of TSN and AttentionLSTM."""
    folder = tmp_path_factory.mktemp("work")
    tiny.make_clips(folder / "clips", count=2)
    (folder / "clips" / "broken.mp4").write_bytes(b"no clip")
    write(folder / "videos.tfrecord", (sequence_example(**video) for video in synthetic.videos("val", 3, 6, 5)))
    (folder / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    for name in ("TSN", "AttentionLSTM"):
        formats.save(folder / f"{name}.npz", networks.weights(name, networks.settings(name)))
    return folder


def words(work, name):
    return [
        f"--model_name={name}",
        f"--weights={work / name}.npz",
        *tiny.flags({**networks.settings(name), "MODEL.class_names": work / "names.txt"}),
    ]


def results(folder, name):
    """(the JSON results, the pickled ones)."""
    with open(folder / f"{name}_infer_result", "rb") as file:
        return json.loads((folder / f"{name}_infer_result.json").read_text(encoding="utf-8")), pickle.load(file)


def equal(found, expected):
    assert [row["id"] for row in found[0]] == [row["id"] for row in expected[0]]
    for one, other in zip(found[0], expected[0], strict=True):
        assert (
            one.keys() == other.keys()
            and one.get("error") == other.get("error")
            and one.get("names") == other.get("names")
        )
        np.testing.assert_allclose(one.get("probabilities", 0), other.get("probabilities", 0), rtol=1e-4, atol=1e-6)
    assert [(row[0], row[2]) for row in found[1]] == [(row[0], row[2]) for row in expected[1]]


@pytest.mark.parametrize(
    "program, form", [("export.py", "paddle"), pytest.param("inference_model.py", "onnx", marks=networks.needs_onnx)]
)
def test_clips(program, form, work, tmp_path, capsys):
    code, output = drivers.status(
        capsys,
        program,
        *words(work, "TSN"),
        f"--save_dir={tmp_path / 'model'}",
        f"--format={form}",
        f"--video_path={work / 'clips'}",
    )
    assert (
        code == 0
        and f"save inference model at {tmp_path / 'model'}" in output
        and "largest relative difference" in output
    ), output
    (tmp_path / "model").rename(tmp_path / "moved")
    views = ["--infer_topk=6", f"--video_path={work / 'clips'}", "-o", "INFER.num_clips=2", "-o", "INFER.num_crops=3"]
    code, output = drivers.status(capsys, "infer.py", *words(work, "TSN"), *views, f"--save_dir={tmp_path / 'trained'}")
    assert code == 1, output
    code, output = drivers.status(
        capsys, "infer.py", f"--exported={tmp_path / 'moved'}", *views, f"--save_dir={tmp_path / 'exported'}"
    )
    assert code == 1 and "classified 2 of 3" in output and any(f"class: {name}, " in output for name in NAMES), output
    found, expected = (results(tmp_path / folder, "TSN") for folder in ("exported", "trained"))
    equal(found, expected)
    assert "error" in found[0][0] and set(found[0][1]["names"]) == set(NAMES)


def test_features(work, tmp_path, capsys):
    code, output = drivers.status(
        capsys,
        "export.py",
        *words(work, "AttentionLSTM"),
        f"--save_dir={tmp_path / 'model'}",
        f"--video_path={work / 'videos.tfrecord'}",
    )
    assert code == 0, output
    shard = ["--infer_topk=6", f"--video_path={work / 'videos.tfrecord'}"]
    code, output = drivers.status(
        capsys, "infer.py", *words(work, "AttentionLSTM"), *shard, f"--save_dir={tmp_path / 'trained'}"
    )
    assert code == 0, output
    code, output = drivers.status(
        capsys, "infer.py", f"--exported={tmp_path / 'model'}", *shard, f"--save_dir={tmp_path / 'exported'}"
    )
    assert code == 0 and "classified 3 of 3" in output, output
    equal(*(results(tmp_path / folder, "AttentionLSTM") for folder in ("exported", "trained")))
    code, output = drivers.status(capsys, "infer.py", f"--exported={tmp_path / 'model'}", "--summary")
    assert code == 0 and "AttentionLSTM, infer: " in output

    (tmp_path / "run.mp4").touch()
    for extra, message in (
        (["--weights=x.npz"], "brings its own; leave out 'x.npz'"),
        (["--model_name=TSN"], "is an exported 'AttentionLSTM'"),
        (["-o", "MODEL.lstm_size=8"], ": that was fixed when"),
        ([f"--video_path={tmp_path / 'run.mp4'}"], "is a clip, but this model classifies"),
        (["--precision=fp8"], "invalid choice: 'fp8'"),
    ):
        code, output = drivers.status(
            capsys, "infer.py", f"--exported={tmp_path / 'model'}", f"--save_dir={tmp_path}", *shard, *extra
        )
        assert code == 2 and message in output and "Traceback" not in output
    shutil.rmtree(tmp_path / "model")
    code, output = drivers.status(capsys, "infer.py", f"--exported={tmp_path / 'model'}")
    assert code == 2 and "is not an exported model" in output


def test_flags_that_do_not_go_together(work, tmp_path, capsys):
    code, output = drivers.status(
        capsys,
        "export.py",
        *words(work, "AttentionLSTM"),
        f"--save_dir={tmp_path / 'model'}",
        "--interface=float",
        f"--video_path={work / 'videos.tfrecord'}",
    )
    assert code == 2 and "--video_path is for --interface=uint8" in output
    code, output = drivers.status(capsys, "export.py", *words(work, "AttentionLSTM"), f"--save_dir={work}")
    assert code == 2 and "holds other things than an exported model" in output
    code, output = drivers.status(
        capsys,
        "export.py",
        *words(work, "TSN"),
        f"--save_dir={tmp_path / 'model'}",
        f"--video_path={work / 'clips' / 'broken.mp4'}",
    )
    assert (
        code == 2
        and "nothing to compare the exported model on: " in output
        and "broken.mp4" in output
        and not list(tmp_path.iterdir())
    )
