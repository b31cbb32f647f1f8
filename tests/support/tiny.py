"""Small data for the driver tests: clips of a dark and a bright class, lists, and a config that trains in seconds."""

import pickle
from pathlib import Path

import cv2
import numpy as np

from dataset.quickstart.make_clips import write_clip

TINY = {
    "MODEL.num_classes": 2,
    "MODEL.seg_num": 2,
    "MODEL.topk": 2,
    **{
        f"{section}.{key}": value
        for section in ("TRAIN", "VALID", "TEST", "INFER")
        for key, value in (("short_size", 36), ("target_size", 32), ("batch_size", 2), ("num_reader_threads", 2))
    },
    "TRAIN.epoch": 1,
}

SMALL_RECIPE = {  # every key of TRAIN that training on few clips brought; the classes are called left and right
    "TRAIN.schedule": "cosine",
    "TRAIN.warmup_epochs": 0.5,
    "TRAIN.clip_norm": 0.5,
    "TRAIN.precise_bn": 2,
    "TRAIN.flip": "{'left': 'right'}",
}

FEATURES = {
    "AttentionCluster": {"MODEL.seg_num": 4, "MODEL.cluster_nums": "[2, 2]", "MODEL.hidden_sizes": "[16, 16]"},
    "AttentionLSTM": {"MODEL.embedding_size": 8, "MODEL.lstm_size": 4, "MODEL.hidden_sizes": "[16, 16]"},
    "NEXTVLAD": {"MODEL.cluster_size": 4, "MODEL.hidden_size": 16, "MODEL.eigen_file": "none"},
}


def images(label, seed, count=12, width=64, height=48):
    rng = np.random.default_rng(seed)
    level = 180 if label else 60
    return [np.clip(level + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8) for _ in range(count)]


def make_clips(folder, count=4, name="clip {i} (é).mp4"):
    """`count` clips with labels 0, 1, 0, 1, ... and their list; names with blanks, brackets and an accent."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(count):
        path = folder / name.format(i=i)
        write_clip(path, images(i % 2, seed=i))
        lines.append(f"{path.name} {i % 2}")
    path = folder / "clips.list"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_pickle(path, label, seed=0, count=12, protocol=2):
    """A Kinetics pickle: (video_id, label, [JPEG bytes])."""
    jpegs = [cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes() for image in images(label, seed, count)]
    Path(path).write_bytes(pickle.dumps((f"./{Path(path).stem}", label, jpegs), protocol=protocol))


def lists(path):
    """Overrides that point every mode at one list."""
    return {f"{section}.filelist": str(path) for section in ("TRAIN", "VALID", "TEST", "INFER")}


def flags(overrides):
    """Overrides as command-line words."""
    return [word for key, value in overrides.items() for word in ("-o", f"{key}={value}")]
