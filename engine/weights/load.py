"""Load weights into a model and report what happened to every tensor. Names decide, shapes are always checked.

    file -> {name: array} (engine/weights/formats.py) -> match with the model's {name: shape} -> values to set + Report
Three rules: `strict` (test, infer), `finetune` (another class count re-initialises the classifier), `backbone`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from engine.checkpoints import files as checkpoint
from engine.checkpoints import finding
from engine.graph.device import Device
from engine.graph.program import Graph
from engine.weights import archives, formats, released
from models.base import Model
from storage import addresses
from utils.errors import ConfigError, ObjectError, WeightsError

log = logging.getLogger("zoo")

NPY = b"\x93NUMPY"  # the first bytes of a .npy file


@dataclass
class Report:
    """Tensor names by outcome; `reshaped` and `reinitialised` say from which shape to which, and `skipped`
    are entries of the file that are not arrays."""

    source: str
    wanted: int
    loaded: list = field(default_factory=list)
    missing: list = field(default_factory=list)
    unexpected: list = field(default_factory=list)
    reshaped: list = field(default_factory=list)
    reinitialised: list = field(default_factory=list)
    skipped: list = field(default_factory=list)

    def __str__(self):
        lines = [f"weights '{self.source}': loaded {len(self.loaded)} of {self.wanted} tensors"]
        for title in ("missing", "unexpected", "reshaped", "reinitialised", "skipped"):
            names = getattr(self, title)
            if names:
                shown = ", ".join(map(str, names[:6])) + (", ..." if len(names) > 6 else "")
                lines.append(f"  {title} {len(names)}: {shown}")
        return "\n".join(lines)


def file_of(source: Any, model: str) -> Path:
    """The local file or folder of a path or address in any spelling. Raises WeightsError where there is none."""
    prefix = finding.of_weights(source, model)
    if prefix is not None:
        return released.fetch(checkpoint.located(prefix, ".pdparams"))
    if addresses.in_bucket(source):
        prefix = finding.resolve(source, model)
        return released.fetch(source if addresses.exists(source) else f"{prefix}.pdparams")
    path = released.fetch(source)
    if not path.is_file() or path.suffix in (".pdopt", ".json"):  # of a checkpoint: its weights are meant
        path = finding.resolve(path, model)
    return formats.found(path)


def read(source: Any, model: Model, shapes: Mapping[str, tuple[int, ...]]) -> formats.Weights:
    """`formats.Weights` of a path or address in any form, or of a dictionary. `shapes` are the model's."""
    if isinstance(source, dict):
        arrays, skipped = {name: np.asarray(value) for name, value in source.items()}, []
    elif (prefix := finding.of_weights(source, model.name)) is not None:
        arrays, skipped = checkpoint.parameters(prefix), []
    else:
        arrays, skipped = formats.read(file_of(source, model.name), shapes, model.optional)
    arrays = model.translate(arrays)
    if set(model.optional) - set(arrays):
        arrays = {**constants(model), **arrays}
    return formats.Weights(arrays, skipped)


def constants(model: Model) -> dict[str, np.ndarray]:
    """{name: array} of the parameters whose values come from files of the configuration (NEXTVLAD's eigenvalues)."""
    return model.constants(_read_array)


def _read_array(key, path, hint):
    """The array in the .npy file `path`, the value of config key `key`; None where there is no file.

    Raises ConfigError.
    """
    if not addresses.is_remote(path) and not Path(path).exists():
        return None
    try:
        with addresses.reading(path) as file:
            with open(file, "rb") as opened:
                if opened.read(len(NPY)) != NPY:
                    raise ValueError("not a .npy file")
            return np.array(
                np.load(file, mmap_mode="r", allow_pickle=False)
            )  # mapped: a header cannot make it allocate
    except (ObjectError, OSError, ValueError, EOFError, SyntaxError, TokenError) as error:
        raise ConfigError(f"{key} '{path}' cannot be read ({error}); {hint}") from error


def require(source: Any, model: Model) -> Any:
    """`source`, or for None the path of the model's released weights; fetches what is remote, before a graph is built.

    Raises ConfigError, WeightsError.
    """
    if source is None:
        released.require_same_classes(model.released, model.settings.num_classes)
        log.warning("no --weights given: using the RELEASED weights of %s, not yours", model.released)
        source = released.released(model.released)
    if not isinstance(source, dict):
        file_of(source, model.name)
    return source


def require_pretrained(source: Any, model: Model) -> Any:
    """The weights that training starts from: `source`, or for None the released ones; None: from scratch.

    Raises ConfigError, WeightsError.
    """
    if source and source.lower() == "none":
        log.info("training from scratch (--pretrain none)")
        return None
    if source or not model.pretrained:  # old scripts pass "" for "not set"
        return source or None
    if model.pretrained not in released.BACKBONES:
        raise ConfigError(
            f"{model.name} starts from an ImageNet {model.pretrained}, and only ResNet-50 was released: give weights "
            "with --pretrain PATH (torchvision's will do), or --pretrain none to train from scratch"
        )
    try:
        return str(_unpacked_beside(released.backbone(model.pretrained)))
    except WeightsError as error:
        raise WeightsError(f"{error}; or train from scratch with --pretrain none") from error


def _unpacked_beside(path):
    """Unpack an archive `<name>.tar.gz` to a folder `<name>` beside it, as the old zoo did; returns the folder.

    Other files are returned as they are, and so is the archive if the disk is too full: an archive can be read, too.
    """
    folder = path.with_name(path.name.removesuffix(".tar.gz"))
    if folder == path:
        return path
    try:
        log.info("unpacking '%s' to '%s'", path, folder)
        return archives.unpack_to(path, folder)
    except OSError as error:
        log.warning("'%s' cannot be unpacked to '%s' (%s); it is read as it is", path, folder, error)
        return path


def pretrained_rule(model: Model) -> Callable:
    """How the weights of `require_pretrained` are read: as an image backbone, or as those of the whole model."""
    return backbone if model.not_in_backbone and not model.pretrained_whole else finetune


def load_into(rule: Callable, device: Device, graph: Graph, model: Model, source: Any) -> Report:
    """Read `source` by a rule (strict, finetune, backbone), set what fits, return the Report. Raises WeightsError."""
    values, report = rule(source, model, graph.shapes)
    broken = [name for name, value in values.items() if not np.isfinite(value).all()]
    if broken:  # with ReLU and softmax such weights may still give a confident prediction
        names = ", ".join(broken[:4]) + (", ..." if len(broken) > 4 else "")
        raise WeightsError(
            f"weights '{report.source}': {len(broken)} tensors hold numbers that are not finite: {names}; "
            "take weights from before that happened, such as an earlier checkpoint"
        )
    device.set(values)
    log.info("%s", report)
    return report


def strict(source: Any, model: Model, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, np.ndarray], Report]:
    """(values, report) for testing and inference: every tensor present, every shape equal. Raises WeightsError."""
    values, report = _match(source, read(source, model, shapes), shapes)
    wrong, missing = _wrong_shapes(values, shapes), [name for name in report.missing if name not in model.optional]
    head = [text for text in wrong if text.startswith(model.head)]
    if head:
        raise WeightsError(
            f"weights '{report.source}' are for another number of classes: {'; '.join(head)}; "
            "set MODEL.num_classes to theirs, or fine-tune them with train.py --resume"
        )
    if wrong or missing:
        raise WeightsError(
            f"weights '{report.source}' do not fit {model.name}: " + _list(wrong or missing, bool(wrong))
        )
    return values, report


def finetune(
    source: Any, model: Model, shapes: Mapping[str, tuple[int, ...]], called: str | None = None
) -> tuple[dict[str, np.ndarray], Report]:
    """(values, report) to fine-tune released or own weights: only the classifier may differ.

    `called` is the source of a dictionary, for messages. Raises WeightsError.
    """
    values, report = _match(called or source, read(source, model, shapes), shapes)
    _drop_head(values, report, model, shapes)
    wrong = _wrong_shapes(values, shapes)
    missing = [name for name in report.missing if not name.startswith((*model.head, *model.optional))]
    if wrong or missing:
        raise WeightsError(
            f"weights '{report.source}' do not fit {model.name}: " + _list(wrong or missing, bool(wrong))
        )
    return values, report


def backbone(source: Any, model: Model, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, np.ndarray], Report]:
    """(values, report) of a pretrained image backbone: what the model shares with it by name (old zoo v1.7 rule).

    The model converts kernels for pictures to kernels for clips. Raises WeightsError if shapes differ or if more than
    half of the tensors are missing.
    """
    inside = {name: shape for name, shape in shapes.items() if model.in_backbone(name)}
    arrays, skipped = read(source, model, shapes)
    arrays = model.translate_backbone(arrays)
    found = {name: value for name, value in arrays.items() if model.in_backbone(name)}
    found, reshaped = model.adapt(found, inside)
    values, report = _match(source, (found, skipped), inside)
    report.reshaped = reshaped
    wrong = _wrong_shapes(values, inside)
    if wrong:
        raise WeightsError(f"pretrained backbone '{report.source}' does not fit {model.name}: " + _list(wrong, True))
    if len(values) < len(inside) / 2:
        raise WeightsError(
            f"pretrained backbone '{report.source}': only {len(values)} of {len(inside)} tensors of {model.name} "
            "are in it; give ImageNet ResNet weights of Paddle or torchvision, or "
            "`--pretrain none` to start from scratch"
        )
    return values, report


def differences(arrays: dict[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], model: Model) -> list[str]:
    """Sentences on why {name: array} are not the weights of a model with these shapes; none if they are."""
    present = [name for name in shapes if name in arrays]
    wrong = _wrong_shapes({name: arrays[name] for name in present}, shapes)
    missing = [name for name in shapes if name not in arrays and name not in model.optional]
    unexpected = sorted(set(arrays) - set(shapes))
    if not (wrong or missing):
        return []
    sentences = [f"{len(present)} of its {len(shapes)} tensors are there"]
    sentences += [_list(names, names is wrong) for names in (wrong, missing) if names]
    return sentences + [f"{len(unexpected)} unknown to it: {'; '.join(unexpected[:4])}"][: len(unexpected)]


def _match(source, weights, shapes):
    found, skipped = weights
    name = "dictionary" if isinstance(source, dict) else str(source)
    values = {key: found[key] for key in shapes if key in found}
    report = Report(
        name,
        len(shapes),
        loaded=sorted(values),
        missing=sorted(set(shapes) - set(found)),
        unexpected=sorted(set(found) - set(shapes)),
        skipped=skipped,
    )
    if not values:
        raise WeightsError(
            f"weights '{name}': none of their {len(found)} tensors has a name this model knows "
            f"(theirs: {', '.join(sorted(found)[:3])}, ...; its: {', '.join(sorted(shapes)[:3])}, ...)"
        )
    return values, report


def _drop_head(values, report, model, shapes):
    """Keep the initial classifier when the class count differs, and log it."""
    head = [name for name in values if name.startswith(model.head)]
    if any(values[name].shape != tuple(shapes[name]) for name in head):
        report.reinitialised = [f"{name} {list(values[name].shape)} -> {list(shapes[name])}" for name in head]
        report.loaded = [name for name in report.loaded if name not in head]
        for name in head:
            del values[name]
        log.warning("another number of classes: the classifier starts anew (%s)", "; ".join(report.reinitialised))


def _wrong_shapes(values, shapes):
    return [
        f"{name} is {list(value.shape)}, the model wants {list(shapes[name])}"
        for name, value in values.items()
        if value.shape != tuple(shapes[name])
    ]


def _list(names, shapes):
    what = "shapes differ" if shapes else "missing"
    return f"{len(names)} {what}: " + "; ".join(names[:4]) + ("; ..." if len(names) > 4 else "")
