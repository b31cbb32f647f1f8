"""The configuration files that the old zoo shipped, v1.3 to v1.8: sections, keys and values as they stood there.

31 files: five models in six releases, and `tsn_dist_and_dali.yaml` of v1.8. v1.3 to v1.5 have the INI form and paths
below `dataset/`, v1.6 to v1.8 YAML and `data/dataset/`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

MODELS = {
    "attention_cluster": "AttentionCluster",
    "attention_lstm": "AttentionLSTM",
    "nextvlad": "NEXTVLAD",
    "stnet": "STNET",
    "tsn": "TSN",
}
VERSIONS = ("v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8")
MODES = {"TRAIN": "train", "VALID": "val", "TEST": "test", "INFER": "infer"}
FEATURES = {"feature_num": 2, "feature_names": ["rgb", "audio"], "feature_dims": [1024, 128]}
IMAGES = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "num_layers": 50}
READING = {"num_reader_threads": 12, "buf_size": 1024}
SMALL = {1e-4: "1e-4", 1e-5: "1e-5"}  # as those files spell them, which YAML takes for text
DEVICES = {"use_gpu": True, "num_gpus": 8}


class Form(NamedTuple):
    """A file of a release: its name there, the model, and {section: {key: value}}."""

    version: str
    file: str
    model: str
    sections: dict

    @property
    def path(self) -> str:
        return f"{self.version}/{self.file}"

    def text(self, sizes: Mapping[str, Any] | None = None) -> str:
        """The file's content; `sizes` {SECTION.key: value} replaces values of keys that it has."""
        ini = self.file.endswith(".txt")
        lines = []
        for section, keys in self.sections.items():
            lines.append(f"[{section}]" if ini else f"{section}:")
            for key, value in keys.items():
                value = (sizes or {}).get(f"{section}.{key}", value)
                lines.append(f"{key} = {_python(value)}" if ini else f"    {key}: {_yaml(value)}")
            lines.append("")
        return "\n".join(lines)


def _python(value):
    if isinstance(value, float):
        return SMALL.get(value, repr(value))
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _yaml(value):
    """As those files have it: `None`, `True` and `1e-4` are bare words, text is quoted."""
    if isinstance(value, dict):
        return "".join(f"\n        {key}: {inner}" for key, inner in value.items())
    return _python(value)


def forms() -> list[Form]:
    """All 31."""
    found = [
        Form(version, f"{slug}.{'txt' if version < 'v1.6' else 'yaml'}", model, BUILDERS[slug](version))
        for version in VERSIONS
        for slug, model in MODELS.items()
    ]
    return [*found, Form("v1.8", "tsn_dist_and_dali.yaml", "TSN", _dali())]


def _lists(version, folder, pattern="{}.list"):
    root = "./dataset" if version < "v1.6" else "./data/dataset"
    return {mode: f"{root}/{folder}/{pattern.format(name)}" for mode, name in MODES.items()}


def _features(version, model, train, batches):
    """Sections of a YouTube-8M model; `batches` of VALID, TEST and INFER."""
    lists = _lists(version, "youtube8m")
    found = {"MODEL": model, "TRAIN": {**train, "filelist": lists["TRAIN"]}}
    for mode, batch in zip(("VALID", "TEST", "INFER"), batches, strict=True):
        found[mode] = {"batch_size": batch, "filelist": lists[mode]}
    return found


def _attention_cluster(version):
    model = {"name": "AttentionCluster", "dataset": "YouTube-8M", "bone_network": None, "drop_rate": 0.5, **FEATURES}
    model |= {"seg_num": 100, "cluster_nums": [32, 32], "num_classes": 3862, "topk": 20}
    if version >= "v1.6":
        model["UNIQUE"] = {"good": 20, "bad": 30}
    train = {"epoch": 5, "learning_rate": 0.001, "pretrain_base": None, "batch_size": 2048, **DEVICES}
    return _features(version, model, train, (2048, 256, 1))


def _attention_lstm(version):
    model = {"name": "AttentionLSTM", "dataset": "YouTube-8M", "bone_nework": None, "drop_rate": 0.5, **FEATURES}
    model |= {"embedding_size": 512, "lstm_size": 1024, "num_classes": 3862, "topk": 20}
    train = {"epoch": 10, "learning_rate": 0.001, "decay_epochs": [5], "decay_gamma": 0.1, "weight_decay": 0.0008}
    train |= {"num_samples": 5000000, "pretrain_base": None, "batch_size": 1024, **DEVICES}
    return _features(version, model, train, (1024, 128, 1))


def _nextvlad(version):
    root = "./dataset" if version < "v1.6" else "./data/dataset"
    model = {"name": "NEXTVLAD", "num_classes": 3862, "topk": 20, "video_feature_size": 1024, "audio_feature_size": 128}
    model |= {"cluster_size": 128, "hidden_size": 2048, "groups": 8, "expansion": 2, "drop_rate": 0.5}
    model |= {"gating_reduction": 8, "eigen_file": f"{root}/youtube8m/yt8m_pca/eigenvals.npy"}
    train = {"epoch": 6, "learning_rate": 0.0002, "lr_boundary_examples": 2000000, "max_iter": 700000}
    train |= {"learning_rate_decay": 0.8, "l2_penalty": 1e-5, "gradient_clip_norm": 1.0, "use_gpu": True, "num_gpus": 4}
    return _features(version, model, {**train, "batch_size": 160}, (160, 40, 1))


def _clips(version, model, train, sizes, batches):
    """Sections of a Kinetics model; `sizes` and `batches` of TRAIN, VALID, TEST and INFER."""
    lists = _lists(version, "kinetics")
    new = {"topk": 5} if version >= "v1.6" else {}
    found = {"MODEL": {"name": model.pop("name"), "format": "pkl", "num_classes": 400, **model, **IMAGES, **new}}
    for mode, size, batch in zip(MODES, sizes, batches, strict=True):
        found[mode] = {"short_size": 256, "target_size": size, **READING, "batch_size": batch, "filelist": lists[mode]}
    found["TRAIN"] = {"epoch": train.pop("epoch"), **found["TRAIN"], **DEVICES, "learning_rate": 0.01, **train}
    found["TRAIN"] |= {"learning_rate_decay": 0.1, "l2_weight_decay": 1e-4, "momentum": 0.9, "total_videos": 224684}
    if version >= "v1.6":
        found["INFER"] |= {"video_path": "", "kinetics_labels": "./data/dataset/kinetics_labels.json"}
    return found


def _stnet(version):
    root = "./dataset" if version < "v1.6" else "./data/dataset"
    train = {"epoch": 60, "pretrain_base": f"{root}/pretrained/ResNet50_pretrained"}
    batches = (128, 128, 16 if version == "v1.3" else 4, 1)
    found = _clips(version, {"name": "STNET", "seg_num": 7, "seglen": 5}, train, (224, 224, 256, 256), batches)
    if version > "v1.3":
        found["TEST"]["seg_num"] = found["INFER"]["seg_num"] = 25
    return found


def _tsn(version):
    batches = (256, 256, 32 if version == "v1.3" else 16, 1)
    found = _clips(version, {"name": "TSN", "seg_num": 3, "seglen": 1}, {"epoch": 45}, (224,) * 4, batches)
    if version > "v1.3":
        found["TEST"]["seg_num"] = 7
    return found


def _dali():
    found = _tsn("v1.8")
    for mode, path in _lists("v1.8", "kinetics", "{}_video_file.list").items():
        found[mode]["filelist"] = path
    found["TRAIN"] |= {"num_trainers": 1, "trainer_id": 0, "use_dali": True}
    found["TEST"]["use_dali"] = True
    return found


BUILDERS = {
    "attention_cluster": _attention_cluster,
    "attention_lstm": _attention_lstm,
    "nextvlad": _nextvlad,
    "stnet": _stnet,
    "tsn": _tsn,
}
