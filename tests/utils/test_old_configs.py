"""Configurations of the first zoo's releases, v1.3 (INI) to v1.8 (YAML), with all the keys that they shipped."""

import pytest
import yaml

from engine.configuration import configure

CLIPS = {
    "num_reader_threads": 12,
    "buf_size": 1024,
    "short_size": 256,
    "target_size": 224,
}
STEPS = {"learning_rate": 0.01, "learning_rate_decay": 0.1, "l2_weight_decay": "1e-4", "momentum": 0.9}
PIXELS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "num_layers": 50, "format": "pkl"}
FEATURES = {"feature_num": 2, "feature_names": ["rgb", "audio"], "feature_dims": [1024, 128], "drop_rate": 0.5}
YOUTUBE = {"dataset": "YouTube-8M", "num_classes": 3862, "topk": 20}


def clips(name, segments, length, epochs, batch, **infer):
    train = {"epoch": epochs, "batch_size": batch, "use_gpu": True, "num_gpus": 8, "total_videos": 224684}
    return {
        "MODEL": {"name": name, "num_classes": 400, "seg_num": segments, "seglen": length, **PIXELS},
        "TRAIN": {**CLIPS, **STEPS, **train, "pretrain_base": "./dataset/pretrained/ResNet50_pretrained"},
        "VALID": {**CLIPS, "batch_size": batch},
        "TEST": {**CLIPS, "batch_size": 16, "seg_num": 7},
        "INFER": {**CLIPS, "batch_size": 1, **infer},
    }


def features(name, keys, train, batch):
    train = {"use_gpu": True, "num_gpus": 8, "batch_size": batch, "pretrain_base": None, **train}
    sizes = zip(("VALID", "TEST", "INFER"), (batch, 256, 1), strict=True)
    return {
        "MODEL": {"name": name, **YOUTUBE, **keys},
        "TRAIN": train,
        **{mode: {"batch_size": n} for mode, n in sizes},
    }


LATER = {"video_path": "", "kinetics_labels": "./data/dataset/kinetics_labels.json"}  # v1.6 and later
CONFIGS = {
    "TSN v1.3": clips("TSN", 3, 1, 45, 256),
    "STNET v1.3": clips("STNET", 7, 5, 60, 128),
    "TSN v1.8": clips("TSN", 3, 1, 45, 256, **LATER),
    "STNET v1.8": clips("STNET", 7, 5, 60, 128, **LATER),
    "AttentionCluster": features(
        "AttentionCluster",
        {**FEATURES, "bone_network": None, "seg_num": 100, "cluster_nums": [32, 32]},
        {"epoch": 5, "learning_rate": 0.001},
        2048,
    ),
    "AttentionLSTM": features(
        "AttentionLSTM",
        {**FEATURES, "bone_nework": None, "embedding_size": 512, "lstm_size": 1024},
        {"epoch": 10, "decay_epochs": [5], "decay_gamma": 0.1, "weight_decay": 0.0008, "num_samples": 5000000},
        1024,
    ),
    "NEXTVLAD": features(
        "NEXTVLAD",
        {
            **{"video_feature_size": 1024, "audio_feature_size": 128, "cluster_size": 128, "hidden_size": 2048},
            **{"groups": 8, "expansion": 2, "drop_rate": 0.5, "gating_reduction": 8},
            "eigen_file": "./dataset/youtube8m/yt8m_pca/eigenvals.npy",
        },
        {
            **{"epoch": 6, "learning_rate": 0.0002, "lr_boundary_examples": 2000000, "max_iter": 700000},
            **{"learning_rate_decay": 0.8, "l2_penalty": "1e-5", "gradient_clip_norm": 1.0},
        },
        160,
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_both_forms_parse_to_the_same_values(name, tmp_path):
    tree = CONFIGS[name]
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    lines = []
    for section, keys in tree.items():
        values = {key: value if str(value).startswith("1e-") else repr(value) for key, value in keys.items()}
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in values.items())]
    (tmp_path / "old.txt").write_text("\n".join(lines), encoding="utf-8")
    model, config = configure(None, tmp_path / "old.yaml")
    assert configure(None, tmp_path / "old.txt") == (model, config)
    assert model.name == tree["MODEL"]["name"] and config.TRAIN.epoch == tree["TRAIN"]["epoch"]
    for section, keys in tree.items():
        found = getattr(config, section)
        for key, value in keys.items():
            if hasattr(found, key) and key not in found.retired:
                assert getattr(found, key) == (float(value) if str(value).startswith("1e-") else value)
