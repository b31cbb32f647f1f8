"""The clips.yaml that make_lists.py writes: where the lists are, and batch, epochs and rate for so many clips.

pretrained weights:  the model's recipe  <  clips.yaml
from scratch:        the model's recipe  <  configs/small/<model>.yaml, copied into clips.yaml  <  its lists
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from engine.configuration import SHIPPED
from models import find
from utils.config.reading import merge, parse
from utils.errors import ConfigError

BATCH = 8  # clips a step
SCRATCH, FINE_TUNING = (400, 0.01), (200, 0.001)  # steps, after which the loss hardly falls, and rate for BATCH clips
SIDES = {"left": "right", "right": "left"}
SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)  # not in `bright`


class Steps(NamedTuple):
    """How long to train."""

    batch: int
    epochs: int
    rate: float


def steps_for(clips: int, steps: int, rate: float) -> Steps:
    """Batch, epochs and rate for a number of training clips: about `steps` steps, in 5 to 60 epochs.

    The batch leaves four steps an epoch; with fewer clips a step the rate is lower in proportion.
    """
    batch = min(BATCH, max(1, clips // 4))
    epochs = min(60, max(5, round(steps * batch / clips)))
    return Steps(batch, epochs, round(rate * batch / BATCH, 6))


def mirrored(names: Sequence[str]) -> dict[str, str]:
    """{class with `left` or `right` in its name: the class whose name has the other word}, each pair once."""
    found: dict[str, str] = {}
    for name in names:
        other = SIDE.sub(_other_side, name)
        if other != name and other in names and other not in found:
            found[name] = other
    return found


def _other_side(word: re.Match) -> str:
    other = SIDES[word[0].lower()]
    return other.capitalize() if word[0][0].isupper() else other


def text(out: Path, names: Sequence[str], clips: int, model: str | None = None) -> str:
    """The content of clips.yaml for lists in the folder `out`; `model`: from scratch, on its configs/small recipe.

    Paths are absolute, so that it serves from any folder. Raises ConfigError for a model without such a recipe.
    """
    chosen = steps_for(clips, *(SCRATCH if model else FINE_TUNING))
    train = {"epoch": chosen.epochs, "batch_size": chosen.batch, "learning_rate": chosen.rate}
    lists = {
        mode: {"filelist": str(out / ("train.list" if mode == "TRAIN" else "val.list"))}
        for mode in ("TRAIN", "VALID", "TEST")
    }
    tree = {
        "MODEL": {"num_classes": len(names), "class_names": str(out / "classes.txt"), "format": "mp4"},
        **lists,
    }
    tree["TRAIN"] |= train
    tree["VALID"] |= {"batch_size": BATCH}
    if model:
        tree = merge(small(model), tree)
    parts = [_head(model, clips, chosen)]
    for section, keys in tree.items():
        body = yaml.safe_dump({section: keys}, sort_keys=False, allow_unicode=True, default_flow_style=False)
        parts.append(body + (_flip_comment(names) if section == "TRAIN" else ""))
    return "\n".join(parts)


def small(model: str) -> dict:
    """The sections of configs/small/<model>.yaml. Raises ConfigError where there is none."""
    path = SHIPPED / "small" / f"{find(model).slug}.yaml"
    if find(model).data != "clips" or not path.is_file():
        raise ConfigError(f"--model '{model}' has no recipe for few clips; give STNET, TPN or TSN")
    return parse(path.read_bytes(), path, path.suffix)


def _head(model, clips, chosen):
    start = f"training {find(model).name} from scratch (--pretrain=none)" if model else "pretrained weights"
    steps = chosen.epochs * (clips // chosen.batch)
    return (
        f"# For {clips} training clips and {start}. Written by dataset/make_lists.py.\n"
        f"# {chosen.batch} clips a step and {chosen.epochs} epochs are {steps} steps: "
        "with so few clips, more steps only learn them by heart.\n"
        "# Change batch_size and learning_rate together: half the clips, half the rate.\n"
    )


def _flip_comment(names):
    """What to think of where class names hold left or right."""
    sided = [name for name in names if SIDE.search(name)]
    if not sided:
        return ""
    pairs = mirrored(names)
    flow = yaml.safe_dump(pairs, default_flow_style=True, width=10**6, allow_unicode=True).strip() if pairs else "false"
    listed = ", ".join(f"'{name}'" for name in sided)
    return (
        f"  # Half of the clips are mirrored in training. Is a mirrored clip of {listed} still one of its class?\n"
        f"  # If not, take the # from the next line.\n"
        f"  # flip: {flow}\n"
    )
