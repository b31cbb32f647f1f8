"""YouTube-8M models without their networks: old configs, schedules, losses, decays, eigenvalues, ready inputs."""

import logging

import numpy as np
import paddle
import pytest

from datareader.clips.sampling import stride_indices
from engine.graph import compat
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.weights import load as weights
from models import find
from models.features import centred, differences
from utils.config import reading as configs
from utils.errors import ConfigError, DataError

FEATURES = ("AttentionCluster", "AttentionLSTM", "NEXTVLAD")
SMALL = {
    "AttentionCluster": {"seg_num": 4},
    "AttentionLSTM": {"embedding_size": 8, "lstm_size": 4},
    "NEXTVLAD": {"cluster_size": 4, "hidden_size": 16, "eigen_file": "none"},
}
LISTS = {
    "VALID": {"batch_size": 3, "filelist": "val.list"},
    "TEST": {"batch_size": 2, "filelist": "test.list"},
    "INFER": {"batch_size": 1, "filelist": "infer.list"},
}
OLD = {  # as the first generation shipped them, never-effective keys included
    "AttentionCluster": {
        "MODEL": {
            "name": "AttentionCluster",
            "dataset": "YouTube-8M",
            "bone_network": None,
            "drop_rate": 0.5,
            "feature_num": 2,
            "feature_names": ["rgb", "audio"],
            "feature_dims": [1024, 128],
            "seg_num": 100,
            "cluster_nums": [32, 32],
            "num_classes": 3862,
            "topk": 20,
            "UNIQUE": {"good": 20, "bad": 30},
        },
        "TRAIN": {
            "epoch": 5,
            "learning_rate": 0.001,
            "pretrain_base": None,
            "batch_size": 2048,
            "use_gpu": True,
            "num_gpus": 8,
        },
    },
    "AttentionLSTM": {
        "MODEL": {
            "name": "AttentionLSTM",
            "dataset": "YouTube-8M",
            "bone_nework": None,
            "drop_rate": 0.5,
            "feature_num": 2,
            "feature_names": ["rgb", "audio"],
            "feature_dims": [1024, 128],
            "embedding_size": 512,
            "lstm_size": 1024,
            "num_classes": 3862,
            "topk": 20,
        },
        "TRAIN": {
            "epoch": 10,
            "learning_rate": 0.001,
            "decay_epochs": [5],
            "decay_gamma": 0.1,
            "weight_decay": 0.0008,
            "num_samples": 5000000,
            "pretrain_base": None,
            "batch_size": 1024,
            "use_gpu": True,
            "num_gpus": 8,
        },
    },
    "NEXTVLAD": {
        "MODEL": {
            "name": "NEXTVLAD",
            "num_classes": 3862,
            "topk": 20,
            "video_feature_size": 1024,
            "audio_feature_size": 128,
            "cluster_size": 128,
            "hidden_size": 2048,
            "groups": 8,
            "expansion": 2,
            "drop_rate": 0.5,
            "gating_reduction": 8,
            "eigen_file": "./dataset/youtube8m/yt8m_pca/eigenvals.npy",
        },
        "TRAIN": {
            "epoch": 6,
            "learning_rate": 0.0002,
            "lr_boundary_examples": 2000000,
            "max_iter": 700000,
            "learning_rate_decay": 0.8,
            "l2_penalty": 1e-5,
            "gradient_clip_norm": 1.0,
            "use_gpu": True,
            "num_gpus": 4,
            "batch_size": 160,
        },
    },
}


def small(name, mode, **sections):
    model_class = find(name)
    keys = {"num_classes": 5, **SMALL[name], **sections.pop("MODEL", {})}
    return model_class(model_class.config_class(MODEL=keys, **sections), mode)


def old_settings(name):
    return configs.validate(find(name).config_class, {**OLD[name], **LISTS}, "old")


def videos(lengths, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: [rng.integers(0, 256, (n, size)).astype(dtype) for n in lengths]
        for name, size in (("rgb", 1024), ("audio", 128))
    }


@pytest.mark.parametrize("name", FEATURES)
def test_old_configurations_say_what_the_defaults_say(name):
    config = old_settings(name)
    assert (
        config.MODEL
        == find(name)
        .config_class(MODEL={"name": name, "feature_num": 2} if name != "NEXTVLAD" else {"name": name})
        .MODEL
    )
    assert config.TRAIN.batch_size == OLD[name]["TRAIN"]["batch_size"]
    assert config.MODEL.features == {"rgb": 1024, "audio": 128}


@pytest.mark.parametrize(
    "name, section, keys, words",
    [
        ("AttentionCluster", "MODEL", {"feature_names": ["rgb"]}, "feature_dims"),
        ("AttentionCluster", "MODEL", {"cluster_nums": [8]}, "cluster_nums"),
        ("AttentionCluster", "MODEL", {"segments": 3}, "segments 3 does not divide"),
        ("AttentionLSTM", "MODEL", {"inputs": ["rgb", "rgb"]}, "twice"),
        ("NEXTVLAD", "MODEL", {"feature_names": ["audio"]}, "needs rgb"),
        ("AttentionLSTM", "MODEL", {"feature_num": 1}, "feature_num 1"),
        ("AttentionLSTM", "MODEL", {"feature_names": ["rgb", "rgb"]}, "once"),
        ("AttentionLSTM", "MODEL", {"lstm_sizes": 8}, "lstm_size"),
        ("NEXTVLAD", "MODEL", {"groups": 7}, "groups 7"),
        ("NEXTVLAD", "TRAIN", {"lr_boundary_examples": 100, "batch_size": 160}, "lr_boundary_examples 100"),
    ],
)
def test_keys_that_contradict_each_other(name, section, keys, words):
    with pytest.raises(ConfigError, match=words):
        configs.validate(find(name).config_class, {section: keys}, "wrong")


def test_schedules_of_the_first_generation():
    rates = {name: find(name)(old_settings(name), "train").rate for name in FEATURES}
    assert {rates["AttentionCluster"](step, 10) for step in (0, 10**6)} == {0.001}
    assert [rates["AttentionLSTM"](step, 10) for step in (0, 24414, 24415)] == pytest.approx([1e-3, 1e-3, 1e-4])
    steps = (0, 12499, 12500, 25000, 687499, 687500, 700000, 10**7)
    assert [rates["NEXTVLAD"](step, 10) for step in steps] == pytest.approx(
        [2e-4 * 0.8**n for n in (0, 0, 1, 2, 54, 55, 55, 55)]
    )


def test_own_decays():
    def decays(name, **train):
        graph = Graph(small(name, "train", TRAIN=train), training=True)
        return {
            p.name: str(p.regularizer)
            for p in graph.program.global_block().all_parameters()
            if getattr(p, "regularizer", None)
        }

    assert decays("AttentionLSTM") == {f"fc_{n}.b_0": "L2Decay, coeff=0.000000" for n in range(11)}
    assert decays("NEXTVLAD", l2_penalty=0.5) == {
        f"logits_clf_{part}": "L2Decay, coeff=0.500000" for part in ("weights", "bias")
    }
    assert decays("AttentionCluster") == {}


def test_losses_are_a_mean_or_a_sum_over_the_batch():
    feed = {
        "rgb": np.ones((3, 4, 1024), np.uint8),
        "audio": np.ones((3, 4, 128), np.uint8),
        "length": np.full(3, 4),
        "label": np.eye(3, 5, dtype=np.float32),
    }
    for name in FEATURES:
        model = small(name, "valid")
        model.devices = 2
        graph, device = Graph(model), Device()
        device.initialise(graph, 1)
        loss, logits = device.run(graph, feed, [graph.loss, graph.logits])
        of_videos = (np.logaddexp(0, logits) - logits * feed["label"]).sum(axis=1)
        assert float(loss) == pytest.approx(
            2 * of_videos.sum() if name == "AttentionLSTM" else of_videos.mean(), rel=1e-5
        ), name


def test_one_feature_is_enough():
    model = small("AttentionLSTM", "infer", MODEL={"feature_names": ["audio"], "feature_dims": [128]})
    graph = Graph(model)
    assert graph.feeds == ["audio", "length"]
    assert [name for name in graph.parameters if name.startswith(model.head)] == ["fc_6.b_0", "fc_6.w_0"]


def nextvlad_with(eigen_file, mode="infer"):
    return small("NEXTVLAD", mode, MODEL={"eigen_file": str(eigen_file)})


def test_eigenvalues(tmp_path):
    values = np.linspace(15, 0, 2048, dtype=np.float32)[:, None]
    np.save(tmp_path / "eigenvals.npy", values)
    found = weights.constants(nextvlad_with(tmp_path / "eigenvals.npy"))["eigen_param"]
    np.testing.assert_allclose(found, np.sqrt(values[:1024, 0]) + 1e-4, rtol=1e-6)
    assert set(weights.constants(nextvlad_with("none"))["eigen_param"]) == {1.0}
    np.save(tmp_path / "short.npy", values[:1000])
    np.save(tmp_path / "negative.npy", -values)
    for name, words in (("missing", "none for features"), ("short", "1000, 1"), ("negative", "negative")):
        with pytest.raises(ConfigError, match=f"{name}.npy' .*{words}"):
            weights.constants(nextvlad_with(tmp_path / f"{name}.npy"))


def test_a_damaged_usual_file_of_eigenvalues_is_not_a_missing_one(tmp_path, monkeypatch, caplog):
    """The log said that there was none, and features were used whitened."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("zoo"), "propagate", True)
    assert set(weights.constants(nextvlad_with("auto"))["eigen_param"]) == {1.0} and "no file" in caplog.text
    usual = tmp_path / "dataset" / "youtube8m" / "yt8m_pca" / "eigenvals.npy"
    usual.parent.mkdir(parents=True)
    usual.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match="eigenvals.npy' cannot be read .not a .npy file"):
        weights.constants(nextvlad_with("auto"))


def test_odd_files_of_eigenvalues_are_refused(tmp_path):
    """Regression: each of these gave a traceback, and infinite values a loss that is not a number."""
    values = np.linspace(15, 1, 2048, dtype=np.float32)[:, None]
    path = tmp_path / "eigenvals.npy"

    def write(content):
        path.write_bytes(content)

    def infinite():
        np.save(path, np.where(values > 14, np.inf, values))

    def archive():
        np.savez(tmp_path / "e.npz", values)
        (tmp_path / "e.npz").rename(path)

    def bracket():  # numpy reads a header as Python's tokens
        np.save(path, values)
        write(path.read_bytes().replace(b"}", b"(", 1))

    def short():
        np.save(path, values)
        write(path.read_bytes()[:200])

    kinds = [
        ("not a .npy file", lambda: write(b"")),
        ("not a .npy file", lambda: write(b"PK\x03\x04" + bytes(200))),
        ("not a .npy file", lambda: write(b"15.0\n14.9\n")),
        ("not a .npy file", archive),
        ("cannot be read", short),
        ("cannot be read", bracket),
        ("float32 .2048, 0.", lambda: np.save(path, values[:, :0])),
        ("float32 .2048.", lambda: np.save(path, values[:, 0])),
        ("<U4 .2048, 1.", lambda: np.save(path, values.astype("U4"))),
        ("the eigenvalue 'inf'", infinite),
    ]
    for words, make in kinds:
        make()
        with pytest.raises(ConfigError, match=words):
            weights.constants(nextvlad_with(path))


def test_weights_of_both_eras_of_nextvlad(tmp_path):
    np.save(tmp_path / "eigenvals.npy", np.full((2048, 1), 4.0, np.float32))
    old, new = {"logits_clf_bias": np.zeros(5)}, {"eigen_param": np.full(1024, 7.0)}
    found = weights.read(old, nextvlad_with(tmp_path / "eigenvals.npy"), {}).arrays
    assert set(found) == {"eigen_param", *old} and set(found["eigen_param"]) == {np.float32(2.0001)}
    assert set(weights.read(new, nextvlad_with("nowhere.npy"), {}).arrays["eigen_param"]) == {7.0}
    with pytest.raises(ConfigError, match="nowhere.npy"):
        weights.read(old, nextvlad_with("nowhere.npy"), {})


def test_ready_inputs_are_padded_or_resampled():
    settings, feed = small("AttentionLSTM", "infer", MODEL={"max_frames": 6}).interface(videos([2, 9, 1]))
    assert settings == {"raw": True} and feed["rgb"].dtype == np.uint8
    assert (
        feed["rgb"].shape == (3, 6, 1024)
        and feed["audio"].shape == (3, 6, 128)
        and feed["length"].tolist() == [2, 6, 1]
    )
    assert not feed["rgb"][0, 2:].any() and feed["rgb"][0, :2].any()

    given = videos([3, 50], np.float64)
    settings, feed = small("AttentionCluster", "infer").interface(given)
    assert settings == {"raw": False} and feed["rgb"].dtype == np.float32 and set(feed) == {"rgb", "audio"}
    for row, video in zip(feed["rgb"], given["rgb"], strict=True):
        np.testing.assert_array_equal(row, video[stride_indices(len(video), 4)].astype(np.float32))


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"rgb": []}, "as many videos"),
        ({**videos([2]), "image": []}, "as many videos"),
        ({"rgb": videos([2, 2])["rgb"], "audio": videos([2])["audio"]}, "'rgb': 2, 'audio': 1"),
        (videos([3, 0]), "video 1"),
        ({"rgb": videos([3])["rgb"], "audio": videos([2])["audio"]}, r"\[2, 128\]"),
        ({"rgb": [np.zeros(1024)], "audio": [np.zeros((1, 128))]}, r"\[1024\]"),
        (videos([3], np.int64), "int64"),
        ({"rgb": videos([2])["rgb"], "audio": videos([2], np.float32)["audio"]}, "float32, uint8"),
    ],
)
def test_ready_inputs_that_do_not_fit(wrong, words):
    with pytest.raises(DataError, match=words):
        small("AttentionLSTM", "infer").interface(wrong)


def test_inputs_that_know_the_order():
    """Of padded videos: features minus their mean, and differences of neighbours, with zeros in the padding."""
    x = np.array([[[1.0], [4.0], [9.0]], [[2.0], [6.0], [70.0]]], np.float32)
    with compat.static_mode(), paddle.static.program_guard(paddle.static.Program()):
        given, length = paddle.static.data("x", [2, 3, 1]), paddle.static.data("length", [2], "int64")
        wanted = [centred(given, length), differences(given, length), differences(given, None)]
        found = paddle.static.Executor().run(feed={"x": x, "length": np.array([3, 2])}, fetch_list=wanted)
    np.testing.assert_allclose(found[0][:, :, 0], [[-11 / 3, -2 / 3, 13 / 3], [-2, 2, 0]], rtol=1e-6)
    np.testing.assert_allclose(found[1][:, :, 0], [[0, 3, 5], [0, 4, 0]])
    np.testing.assert_allclose(found[2][1, :, 0], [0, 4, 64])


@pytest.mark.parametrize(
    "keys", [{}, {"segments": 2}, {"inputs": ["rgb", "difference"]}], ids=["none", "segments", "difference"]
)
@pytest.mark.parametrize("name", ["AttentionCluster", "NEXTVLAD"])
def test_whether_the_order_of_frames_matters(name, keys):
    sizes = {"feature_names": ["rgb"], "feature_dims": [8], "feature_type": "float", "num_classes": 3, **keys}
    more = {"seg_num": 4, "cluster_nums": None} if name == "AttentionCluster" else {"groups": 2}
    model = small(name, "infer", MODEL={**sizes, **more})
    device, graph = Device(), Graph(model, raw=False)
    device.initialise(graph, 3)
    video = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    forwards, backwards = (
        device.scores(graph, model.interface({"rgb": [each]})[1])[1] for each in (video, video[::-1].copy())
    )
    assert np.allclose(forwards, backwards, atol=1e-5) == (not keys)
