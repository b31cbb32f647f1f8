"""The start of a run: the screen shows differences from the recipe; the whole configuration goes into files."""

import logging
from pathlib import Path
from typing import Any

import yaml

from engine.configuration import changed_keys
from reports.tables import write_file
from storage import addresses, locks
from utils.config.messages import describe
from utils.log import open_log

log = logging.getLogger("zoo")


def announce(config: Any, mode: str, save_dir: str | Path) -> None:
    """Open the run's log file in `<save_dir>/log`, and say what differs from the recipe; a training also writes
    `<save_dir>/config.yaml`, which --config takes.

    mode: train, test or infer. There is no log file where `save_dir` is an address: objects cannot be appended to.
    Raises ConfigError where another training writes to the folder, whose config.yaml must stay.
    """
    if mode == "train":
        locks.require_unlocked(save_dir, f"{config.MODEL.name}_train")
    if addresses.is_remote(save_dir):
        log.info("no log file, for '%s' is an address; add `| tee %s.log` to keep these lines", save_dir, mode)
    else:
        open_log(addresses.join(save_dir, "log"), mode)
    say(config, mode, save_dir)


def say(config: Any, mode: str, save_dir: str | Path) -> None:
    """`announce` without a log file."""
    log.debug("%s", describe(config, mode))
    if mode == "train":
        text = yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)
        write_file(addresses.join(save_dir, "config.yaml"), lambda file: file.write(text))
    modes = ("train", "valid") if mode == "train" else (mode,)
    changed = [f"  {key}: {value} (recipe: {recipe})" for key, recipe, value in changed_keys(config, *modes)]
    name = config.MODEL.name
    if changed:
        log.info("%s differs from its recipe in %d keys:\n%s", name, len(changed), "\n".join(changed))
    else:
        log.info("%s is as its recipe says", name)
