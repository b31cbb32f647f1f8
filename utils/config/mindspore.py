"""Configurations of MindSpore's StNet (mindspore-ai/models, research/cv/stnet): flat files of `key: value` lines.

The tables below map their keys to ours.
"""

import os
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import ConfigError, nearest

MODES = ("TRAIN", "VALID", "TEST", "INFER")


def _everywhere(key):
    return tuple(f"{mode}.{key}" for mode in MODES)


KEYS = {
    "class_num": ("MODEL.num_classes",),
    "T": ("MODEL.seg_num",),
    "N": ("MODEL.seglen",),
    "image_mean": ("MODEL.image_mean",),
    "image_std": ("MODEL.image_std",),
    "short_size": _everywhere("short_size"),
    "target_size": _everywhere("target_size"),
    "batch_size": ("TRAIN.batch_size", "VALID.batch_size", "TEST.batch_size"),
    "workers": _everywhere("num_reader_threads"),
    "num_epochs": ("TRAIN.epoch",),
    "lr": ("TRAIN.learning_rate",),
    "gamma": ("TRAIN.learning_rate_decay",),
    "momentum": ("TRAIN.momentum",),
    "weight_decay": ("TRAIN.l2_weight_decay",),
}
FLAGS = {
    "dataset_path": "dataset_path",
    "device_id": "device_id",
    "run_distribute": "run_distribute",
    "resume": "resume",
    "pre_res50": "pretrain",
    "checkpoint_path": "save_dir",
    "keep_checkpoint_max": "keep_checkpoints",
    "eval_interval": "valid_interval",
}
WITHOUT_EFFECT = {
    **dict.fromkeys(
        ("save_checkpoint", "save_checkpoint_epochs", "save_best_ckpt"), "each epoch and the best are kept"
    ),
    **dict.fromkeys(("run_eval", "eval_start_epoch", "eval_per_epoch"), "--valid_interval says when to validate"),
    **dict.fromkeys(
        ("mode", "parameter_server", "dataset_sink_mode", "dataset_sink_mod", "profile"), "MindSpore's own"
    ),
    **dict.fromkeys(("target", "device_target", "device_num"), "--use_gpu and --devices say where to compute"),
    **dict.fromkeys(
        ("local_train_list", "local_val_list", "val_data_dir"), "--dataset_path or the filelist keys name data"
    ),
    **dict.fromkeys(
        ("run_online", "data_url", "local_data_url", "pre_url", "load_path", "train_url", "output_path")
        + ("pre_res50_art_load_path", "best_acc_art_load_path"),
        "lists, weights and --save_dir may be at addresses",
    ),
    "lr_decay_rate": "the rate falls after each third of the epochs",
    "avgpool_kernel_size": "the pool takes whole maps",
    "dataset_type": "the list says it",
    "summary_dir": "logs are in --save_dir",
    "config_path": "--config",
}


def is_flat(tree: Any) -> bool:
    """Whether a YAML file holds MindSpore's flat keys rather than sections."""
    return isinstance(tree, dict) and any(not isinstance(value, dict | None) for value in tree.values())


def sections(tree: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any], str]:
    """({section: {key: value}}, {flag: value}, a sentence on what each key is here) of a flat table.

    Its batch_size is that of one device; here it is that of all. Raises ValueError for a key of neither.
    """
    found, flags, notices = {"MODEL": {"name": "STNET"}}, {}, []
    devices = int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
    for key, value in tree.items():
        if key in KEYS:
            _put(found, KEYS[key], value * devices if key == "batch_size" and isinstance(value, int) else value)
            notices.append(f"{key} is {KEYS[key][0]}")
        elif key in FLAGS:
            if value not in (None, ""):
                flags[FLAGS[key]] = value
            notices.append(f"{key} is --{FLAGS[key]}")
        elif key in WITHOUT_EFFECT:
            notices.append(f"{key} has no effect ({WITHOUT_EFFECT[key]})")
        else:
            raise ValueError(_unknown(key))
    return found, flags, "; ".join(notices)


def _put(found, dotted, value):
    for each in dotted:
        section, _, key = each.partition(".")
        found.setdefault(section, {})[key] = value


def _unknown(key):
    guess = nearest(key, [*KEYS, *FLAGS])
    meant = KEYS.get(guess, (f"--{FLAGS.get(guess)}",))[0] if guess else ""
    hint = f"did you mean '{guess}', which is {meant}? " if guess else ""
    return (
        f"'{key}' stands outside the sections and is no key of MindSpore's StNet; {hint}"
        "expected sections (MODEL, TRAIN, ...)"
    )


def refuse_program(path: str | Path) -> NoReturn:
    """ConfigError for a config.py, which is a program."""
    raise ConfigError(
        f"config '{path}' is a Python program, and configs are data: write its keys into a .yaml file, one "
        "`class_num: 400` a line"
    )
