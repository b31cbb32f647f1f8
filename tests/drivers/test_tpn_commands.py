"""TPN through train.py, test.py and infer.py; what test.py reports is the average of single views done by hand."""

import csv
import json
import re
import shutil

import numpy as np
import pytest

from datareader.clips.transforms import scale
from datareader.clips.video import read_frames
from engine import Predictor
from support import drivers, tiny

SIZES = {
    f"{section}.{key}": value
    for section in ("TRAIN", "VALID", "TEST", "INFER")
    for key, value in (("short_size", 34), ("target_size", 32), ("num_reader_threads", 2))
}
KEYS = {
    "MODEL.num_classes": 2,
    "MODEL.seglen": 4,
    "MODEL.step": 2,
    "MODEL.temporal_scales": [4, 4],
    "MODEL.topk": 2,
    **SIZES,
    "TRAIN.batch_size": 2,
    "VALID.batch_size": 2,
    "TRAIN.epoch": 1,
    "TRAIN.crop": "resized",
    "TRAIN.colour_jitter": True,
    "TEST.seg_num": 2,
    "TEST.batch_size": 4,
    "INFER.num_clips": 2,
    "INFER.batch_size": 12,
    # A step leaves the weights nearly as they were drawn: two clips are too few for statistics that a test could use.
    "TRAIN.freeze_bn": True,
    "TRAIN.learning_rate": 1e-6,
}
STARTS, OFFSETS = (1, 3), (0, 12, 6)  # of the views of 12 frames of 64x48: two clips of span 8, 45x34 after scaling


def by_hand(predictor, path):
    """Probabilities [2] of a clip: the mean over views that are cut here and are samples of their own."""
    model = predictor.config.MODEL
    whole = [scale(frame, (45, 34)) for frame in read_frames(path, range)]
    views = [[whole[start + 2 * t][1:33, x : x + 32] for t in range(4)] for start in STARTS for x in OFFSETS]
    images = (np.array(views) / 255.0 - model.image_mean) / model.image_std  # [6, T, H, W, 3]
    return predictor.run({"image": images.transpose(0, 1, 4, 2, 3).reshape(6, 1, 12, 32, 32)})["probabilities"].mean(
        axis=0
    )


@pytest.fixture
def folder(tmp_path):
    """Emptied at once: a checkpoint of TPN takes a gigabyte."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_train_test_infer(folder, capsys):
    keys = ["--no_report", *tiny.flags({**KEYS, **tiny.lists(tiny.make_clips(folder / "clips", count=2))})]
    code, output = drivers.status(
        capsys,
        "train.py",
        "--model_name=tpn",
        "--config=configs/tpn_kinetics400.txt",
        "--pretrain=none",
        "--log_interval=1",
        "--valid_interval=0",
        "--fix_random_seed=True",
        f"--save_dir={folder}",
        *keys,
    )
    assert code == 0 and "[TRAIN] Epoch 0, iter 0" in output, output
    assert re.search(r"^kpis\ttrain_cost_card1\t\d+\.\d+\nkpis\ttrain_speed_card1\t\d+\.\d+$", output, re.MULTILINE), (
        output
    )
    assert "MODEL.step is now called frame_interval" in output

    weights = folder / "TPN_best"
    code, output = drivers.status(
        capsys, "test.py", "--model_name=TPN", f"--weights={weights}", f"--save_dir={folder}", *keys
    )
    assert code == 0 and "scored 2 of 2" in output, output
    predictor = Predictor(weights=weights)
    names = [f"clip {i} (é).mp4" for i in range(2)]
    expected = [by_hand(predictor, folder / "clips" / name) for name in names]
    assert np.ptp(expected, axis=0).min() > 0.01  # the weights tell the clips apart
    rows = list(csv.DictReader((folder / "TPN_predictions.csv").open(encoding="utf-8")))
    assert [row["id"] for row in rows] == names and [int(row["predicted"]) for row in rows] == [
        int(row.argmax()) for row in expected
    ]
    np.testing.assert_allclose([float(row["probability"]) for row in rows], [row.max() for row in expected], rtol=1e-4)
    result = json.loads((folder / "TPN_test_result.json").read_text())
    assert result["loss"] == pytest.approx(-np.log([expected[i][i] for i in range(2)]).mean(), rel=1e-4)

    code, output = drivers.status(
        capsys,
        "infer.py",
        f"--weights={weights}",
        "--model_name=TPN",
        f"--video_path={folder / 'clips'}",
        f"--save_dir={folder}",
    )
    assert code == 0 and "classified 2 of 2" in output, output
    found = json.loads((folder / "TPN_infer_result.json").read_text(encoding="utf-8"))
    for row, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(row["probabilities"], wanted[row["indices"]], rtol=1e-4)
