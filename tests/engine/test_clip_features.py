"""Features of clips: extract.py, training on clips by --features_from, and a head on cached features."""

import csv
import json
import pickle
import shutil

import numpy as np
import pytest
import yaml

from datareader.clips.sampling import window_starts
from datareader.features.examples import parse_sequence_example
from datareader.features.tfrecord import records
from engine.configuration import configure
from engine.features import settings
from engine.features.cache import Features
from engine.trainer import Trainer
from engine.weights import formats
from support import drivers, tiny
from utils.errors import ConfigError, WeightsError

SMALL = {"MODEL.seg_num": 4, "MODEL.hidden_sizes": "[8, 8]", "MODEL.topk": 2, "TRAIN.batch_size": 2}


def run(clips, folder, epochs=1, **overrides):
    """Train TINYNET; returns the history."""
    keys = {**tiny.TINY, **tiny.lists(clips), "TRAIN.epoch": epochs, "TRAIN.seed": 7, **overrides}
    model, config = configure("TINYNET", None, {key: str(value) for key, value in keys.items()})
    trainer = Trainer(model, config, folder, pages=False)
    trainer.start("none")
    return trainer.fit()


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    path = tiny.make_clips(tmp_path_factory.mktemp("clips"), count=6)
    (path.parent / "classes.txt").write_text("dark\nbright\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def extractor(clips, tmp_path_factory):
    """A checkpoint of TINYNET."""
    folder = tmp_path_factory.mktemp("extractor")
    run(clips, folder)
    return folder / "TINYNET_latest"


def extract(capsys, extractor, filelist, folder, *words):
    flags = [f"--weights={extractor}", f"--filelist={filelist}", f"--save_dir={folder}", "--rows=5", *words]
    return drivers.status(capsys, "extract.py", *flags)


def content(folder):
    """{path: bytes} of what extract.py wrote, without its cache."""
    files = [path for path in folder.rglob("*") if path.is_file() and "cache" not in path.relative_to(folder).parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "count, seconds, span, keys, wanted",
    [
        (90, 3.0, 1, {}, [15, 45, 75]),  # the frame in the middle of each second
        (90, 3.0, 16, {}, [7, 37, 67]),
        (90, 3.0, 16, {"rows": 1}, [37]),
        (30, 1.0, 16, {"least": 3}, [0, 7, 14]),  # inside the video
        (5, 0.2, 16, {}, [0]),  # frames of shorter ones are repeated
    ],
)
def test_windows_are_spread_evenly(count, seconds, span, keys, wanted):
    assert window_starts(count, seconds, span, **keys) == wanted


def test_shards_lists_and_config(clips, extractor, tmp_path, capsys):
    code, output = extract(capsys, extractor, clips, tmp_path)
    assert code == 0 and "extracted 6 of 6 clips by TINYNET" in output, output
    (shard,) = (tmp_path / "clips.list").read_text().split()
    videos = [parse_sequence_example(record) for record in records(tmp_path / shard)]
    names = [line.rsplit(maxsplit=1)[0] for line in clips.read_text(encoding="utf-8").splitlines()]
    assert [video["id"] for video in videos] == names and [video["labels"] for video in videos] == [[0], [1]] * 3
    assert {(video["rgb"].dtype.name, video["rgb"].shape) for video in videos} == {("float16", (5, 8))}
    tree = yaml.safe_load((tmp_path / "features.yaml").read_text())
    assert tree["MODEL"]["feature_dims"] == [8] and tree["MODEL"]["num_classes"] == 2
    assert tree["EXTRACTOR"]["model"] == "TINYNET" and tree["EXTRACTOR"]["rows"] == 5
    before = content(tmp_path)
    for path in (tmp_path / "cache").rglob("*.tfrecord"):  # as if it had been killed before the last clips
        path.unlink()
        break
    shutil.rmtree(tmp_path / "clips")
    assert extract(capsys, extractor, clips, tmp_path)[0] == 0 and content(tmp_path) == before


def test_a_bad_clip_is_listed_and_the_order_is_kept(clips, extractor, tmp_path, capsys):
    lines = clips.read_text(encoding="utf-8").splitlines()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    path = tmp_path / "some.list"
    path.write_text("\n".join([f"{clips.parent}/{lines[1]}", f"{broken} 0", f"{clips.parent}/{lines[0]}"]))
    code, output = extract(capsys, extractor, path, tmp_path / "out", "--format=pkl")
    assert code == 1 and "not extracted: " in output and "extracted 2 of 3 clips" in output, output
    videos = pickle.loads((tmp_path / "out/some/some0000.pkl").read_bytes())
    assert [video[b"label"] for video in videos] == [[1], [0]]
    (row,) = csv.DictReader((tmp_path / "out/bad_samples.csv").open(encoding="utf-8"))
    assert row["sample"] == str(broken) and "not a readable video" in row["reason"]
    config = configure("AttentionLSTM", tmp_path / "out/features.yaml", {"INFER.filelist": "some.list"})[1]
    assert config.MODEL.feature_type == "float" and config.MODEL.feature_dims == [8]


def test_the_cache_notices_changed_clips_and_damage(clips, extractor, tmp_path, caplog):
    section = settings.described(str(extractor)).model_copy(update={"rows": 3, "cache": str(tmp_path / "cache")})
    features = Features(section)
    copy = tmp_path / "clip.mp4"
    one, other = sorted(clips.parent.glob("*.mp4"))[:2]
    shutil.copy(one, copy)
    first = features.rows(copy)
    shutil.copy(other, copy)
    second = features.rows(copy)
    assert (first != second).any() and len(list(features.folder.iterdir())) == 2
    entry = features.kept(copy)
    damaged = bytearray(entry.read_bytes())
    damaged[-20] ^= 1
    entry.write_bytes(damaged)
    assert (features.rows(copy) == second).all() and "checksum" in caplog.text and "extracted anew" in caplog.text
    assert entry.read_bytes() != damaged
    assert settings.identity(section) != settings.identity(section.model_copy(update={"rows": 4}))


def test_quantised_features_of_new_clips_are_those_of_the_shards(clips, extractor, tmp_path, capsys):
    code, output = extract(capsys, extractor, clips, tmp_path, "--quantise=4")
    assert code == 0, output
    tree = yaml.safe_load((tmp_path / "features.yaml").read_text())
    assert tree["MODEL"]["feature_type"] == "uint8" and tree["MODEL"]["feature_dims"] == [4]
    stored = [parse_sequence_example(record)["rgb"] for record in records(tmp_path / "clips/clips0000.tfrecord")]
    assert {rows.dtype.name for rows in stored} == {"uint8"}
    values = np.concatenate(stored) * (4 / 255) + 4 / 512 - 2  # white, as far as clipping allows
    assert np.abs(values.mean(axis=0)).max() < 0.2 and np.abs(values[:, 0].std() - 1) < 0.3
    config = configure("AttentionLSTM", tmp_path / "features.yaml")[1]
    again = Features(config.EXTRACTOR).rows(sorted(clips.parent.glob("*.mp4"))[0])
    assert (again == stored[0]).all()
    matrices = tmp_path / tree["EXTRACTOR"]["whitening"]
    matrices.write_bytes(matrices.read_bytes()[:-9])
    with pytest.raises(ConfigError, match="EXTRACTOR.whitening .*its hash"):
        Features(config.EXTRACTOR)


def test_from_clips_to_names(clips, extractor, tmp_path, capsys):
    """Train on clips, then classify and test clips with the checkpoint alone."""
    (tmp_path / "clips.yaml").write_text(
        yaml.safe_dump(
            {
                "MODEL": {"num_classes": 2, "class_names": str(clips.parent / "classes.txt"), "format": "mp4"},
                **{mode: {"filelist": str(clips), "batch_size": 2} for mode in ("TRAIN", "VALID", "TEST")},
            }
        )
    )
    words = [f"--config={tmp_path / 'clips.yaml'}", f"--features_from={extractor}", f"--save_dir={tmp_path}"]
    code, output = drivers.status(
        capsys, "train.py", "--model_name=AttentionCluster", *words, "--no_report", *tiny.flags(SMALL)
    )
    assert code == 0 and "top1 = " in output, output
    state = json.loads((tmp_path / "AttentionCluster_best.json").read_text(encoding="utf-8"))
    assert state["extractor"]["model"] == "TINYNET" and len(state["extractor"]["sha256"]) == 64
    assert len(list((tmp_path / "features").rglob("*.tfrecord"))) == 6
    weights = f"--weights={tmp_path / 'AttentionCluster_best'}"
    code, output = drivers.status(
        capsys, "infer.py", weights, f"--video_path={clips.parent}", f"--save_dir={tmp_path / 'results'}"
    )
    assert code == 0 and "classified 6 of 6" in output and "bright" in output, output
    code, output = drivers.status(
        capsys,
        "infer.py",
        weights,
        f"--video_path={sorted(clips.parent.glob('*.mp4'))[0]}",
        "--window_seconds=0.2",
        f"--save_dir={tmp_path / 'windows'}",
    )
    assert code == 0 and "classified 1 of 1" in output, output
    code, output = drivers.status(capsys, "test.py", weights, f"--save_dir={tmp_path / 'tested'}", "--no_report")
    assert code == 0 and "scored 6 of 6" in output and "top1 = " in output, output
    nowhere = ["-o", f"EXTRACTOR.weights={tmp_path / 'nowhere'}"]
    code, output = drivers.status(capsys, "infer.py", weights, f"--video_path={clips.parent}", *nowhere)
    assert code == 2 and "the extractor TINYNET has no weights here" in output and "EXTRACTOR.weights" in output
    code, output = drivers.status(
        capsys, "train.py", "--model_name=TINYNET", f"--features_from={extractor}", f"--save_dir={tmp_path}"
    )
    assert code == 2 and "--features_from is for models that read features" in output


def test_other_weights_than_the_features_were_made_with(clips, extractor):
    section = settings.described(str(extractor)).model_copy(update={"sha256": 64 * "0"})
    with pytest.raises(WeightsError, match="were made with 0000000000000000.*EXTRACTOR.weights"):
        settings.weights_of(section)


def test_every_clip_is_scored_by_models_that_did_not_see_its_group(clips, extractor, tmp_path, capsys):
    words = [f"--features_from={extractor}", f"--filelist={clips}", f"--save_dir={tmp_path}", "--seeds=2"]
    keys = {**SMALL, "MODEL.num_classes": 2, "TRAIN.epoch": 1}
    cross = ["dataset/cross_validate.py", "--model_name=AttentionCluster", *words, *tiny.flags(keys)]
    code, output = drivers.status(capsys, *cross, "--group_by=clip [0-4]|clip 5")
    assert code == 0 and "seed 1: top-1 " in output and "mean of 2 seeds" in output, output
    rows = list(csv.DictReader((tmp_path / "AttentionCluster_cross_validation.csv").open(encoding="utf-8")))
    assert len(rows) == 12 and {row["group"] for row in rows} == {f"clip {i}" for i in range(6)}
    code, output = drivers.status(capsys, *cross, "--group_by=nothing")
    assert code == 2 and "--group_by 'nothing' does not match" in output


HEAD_ALONE = {"TRAIN.freeze": "['conv', 'bn_']", "MODEL.seg_num": 2}


def test_a_head_on_cached_features_learns_what_the_slow_way_learns(clips, tmp_path):
    """As long as there are as many views as epochs, and apart from rounding."""
    histories, weights = [], []
    for views in (0, 3):
        folder = tmp_path / str(views)
        histories.append(run(clips, folder, 3, **HEAD_ALONE, **{"TRAIN.cache_backbone": views}))
        weights.append(formats.read(folder / "TINYNET_epoch2.pdparams", {}, ()).arrays)
    assert set(weights[0]) == set(weights[1])
    for name in weights[0]:
        np.testing.assert_allclose(weights[0][name], weights[1][name], atol=1e-5, err_msg=name)
    for slow, fast in zip(*histories, strict=True):
        assert fast["loss"] == pytest.approx(slow["loss"], abs=1e-4)
        assert fast["valid_loss"] == pytest.approx(slow["valid_loss"], abs=1e-4)


def test_caching_is_refused_where_more_is_trained(clips, tmp_path):
    with pytest.raises(ConfigError, match="cache_backbone '2' is for trainings of the classifier alone"):
        run(clips, tmp_path, **{"TRAIN.cache_backbone": 2})
