"""From what a user typed to a model class, a validated configuration and class names."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datareader.names import read_names
from engine.checkpoints import finding
from engine.graph import compat
from engine.weights import formats, released
from models import MODELS, find
from models.base import Model
from storage import addresses
from storage.files import parse_json
from utils.config import reading as configs
from utils.config.differences import differences
from utils.errors import ConfigError, ObjectError, nearest

log = logging.getLogger("zoo")

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "configs"
KINETICS_NAMES = ROOT / "dataset" / "kinetics" / "kinetics400_names.txt"
RENAMED = {"tpn_kinetics400": "tpn"}  # file names of other editions -> the shipped file's stem


def read_config(path: str | Path) -> configs.Layer:
    """{section: {key: value}} of a `.yaml`/`.yml` file or of an old INI file (any other ending). Raises ConfigError."""
    path = _locate(path)
    try:
        with addresses.reading(path) as copy, open(copy, "rb") as file:
            data = file.read(configs.MAX_BYTES + 1)
    except ObjectError as error:
        raise ConfigError(f"config {error}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"config '{path}' cannot be read: {reason}") from error
    return configs.parse(data, path, addresses.suffix(path))


def _locate(path):
    """The file that `path` means: itself, its sibling with another ending, or the shipped file of that name."""
    if addresses.is_remote(path) or Path(path).is_file():
        return path
    path = Path(path)
    if path.is_dir():
        found = [entry.name for entry in path.iterdir() if entry.suffix in (".yaml", ".yml", ".txt")]
        inside = nearest("clips.yaml", found)
        hint = f", such as '{path / inside}'" if inside else ""
        raise ConfigError(f"--config '{path}' is a folder; give a file in it{hint}")
    stem = RENAMED.get(path.stem, path.stem)
    for folder in (path.parent, SHIPPED):
        for ending in (".yaml", ".yml", ".txt"):
            candidate = folder / f"{stem}{ending}"
            if candidate.is_file():
                log.info("config '%s' does not exist; using '%s'", path, candidate)
                return candidate
    known = ", ".join(sorted(str(found.relative_to(SHIPPED)) for found in SHIPPED.rglob("*.yaml")))
    raise ConfigError(f"--config '{path}' does not exist; shipped in configs/: {known}")


FILE_KEYS = ("filelist", "class_names", "kinetics_labels", "eigen_file")


def configure(
    name: str | None = None,
    config: str | Path | None = None,
    overrides: dict[str, Any] | None = None,
    weights: Any = None,
    fallback: str | None = None,
    command: str = "",
) -> tuple[type[Model], Any]:
    """(model class, configuration). Layers: shipped recipe < `config` file < `overrides` {'SECTION.key': value}.

    Where `overrides` name an extractor, configs/small/<model>.yaml is laid over the shipped recipe.

    Without `config`, the configuration of a checkpoint given as `weights` is used. Without `name`, MODEL.name of the
    file is used, else `fallback`. Raises ConfigError. If no model is given, its text lists all models, each with
    `command`, in which {name} and {flags} are filled in.
    """
    name = find(name).name if name else ""
    source, layer = config, read_config(config) if config else {}
    state = {} if config else finding.state_for(weights, name)
    if "config" in state:
        source, layer = f"{weights} (its own configuration)", state["config"]
    overrides = configs.nested(overrides or {})
    named = configs.merge(layer, overrides).get("MODEL", {}).get("name")
    if not name and not named and fallback:
        log.info("no --model_name: %s, whose flags these are", fallback)
        named = fallback
    if not name and not named:
        known = _without_configuration(weights) if isinstance(weights, str | Path) and not config else ""
        raise ConfigError(f"which model? {known}give --model_name, for example --model_name=TSN{_commands(command)}")
    model = find(name or named)
    if named and find(named) is not model:
        raise ConfigError(f"config '{source or 'MODEL.name'}' is for '{named}', but --model_name says '{name}'")
    shipped = SHIPPED / f"{model.slug}.yaml"
    if config and model.of_weights:
        state = finding.state_for(weights, model.name)
    decided = _decided_by(weights, state, model, overrides.get("MODEL", {}))
    layers = (configs.apply_renames(model.config_class, each, source or shipped) for each in (layer, overrides))
    recipe = read_config(shipped) if shipped.is_file() else {}  # the defaults of its settings then
    if overrides.get("EXTRACTOR", {}).get("model") and not layer.get("EXTRACTOR", {}).get("model"):
        # Features of own clips, of which there are few: the recipe is the small one.
        recipe = configs.merge(recipe, read_config(SHIPPED / "small" / shipped.name))
    tree = configs.merge(recipe, *layers, {"MODEL": decided})
    tree["MODEL"]["name"] = model.name
    _find_moved(tree)
    return model, configs.validate(model.config_class, tree, source or shipped, overrides, recipe)


def _find_moved(tree):
    """Replace paths of missing files: `dataset/` (v1.3 to v1.5) by `data/dataset/` (later), or the other way round."""
    for section, keys in tree.items():
        for key in set(keys) & set(FILE_KEYS):
            path = str(keys[key] or "").removeprefix("./")
            other = path.removeprefix("data/") if path.startswith("data/dataset/") else f"data/{path}"
            moved = path.startswith(("dataset/", "data/dataset/")) and not Path(path).exists() and Path(other).exists()
            if moved:
                log.info("%s.%s '%s' does not exist; using './%s'", section, key, keys[key], other)
                keys[key] = f"./{other}"


def _commands(command):
    """A line for each model: `command` filled in."""
    if not command:
        return ""
    flags = "--model_name={0.name} --config=configs/{0.slug}.yaml"
    lines = [
        f"{command.format(name=model.name, flags=flags.format(model))}    {model.title}" for model in MODELS.values()
    ]
    return "\n    ".join(["; the models:", *lines])


def _decided_by(weights, state, model, overrides):
    """{key of MODEL: value} that `weights` (a path, dictionary or None) determine, without the keys in `overrides`.

    state: of the checkpoint that they are, {} for other weights
    """
    if weights is None or not model.of_weights:
        return {}
    if isinstance(weights, dict):
        found = model.implied(weights)
    else:
        keys = state.get("config", {}).get("MODEL", {})
        local = None if state or addresses.in_bucket(weights) else released.fetch(weights)
        found = {key: keys[key] for key in model.of_weights if key in keys}
        if local and local.is_file():
            found = model.implied(formats.names_in(local))
    found = {key: value for key, value in found.items() if key not in overrides}
    for key, value in found.items():
        log.info("MODEL.%s is '%s': so the weights say", key, value)
    return found


def _without_configuration(weights):
    """What to say of weights that do not tell their model. Raises WeightsError where they are not there."""
    if not addresses.in_bucket(weights):
        formats.found(released.fetch(weights))
    return f"'{weights}' does not say (checkpoints of this zoo do); "


def changed_keys(config: Any, *modes: str) -> list[tuple[str, Any, Any]]:
    """[(SECTION.key, value of the recipe, value here)] of all keys that differ from the model's shipped recipe.

    Only MODEL and the sections of `modes` are compared.
    """
    shipped = SHIPPED / f"{find(config.MODEL.name).slug}.yaml"
    found = differences(config, read_config(shipped) if shipped.is_file() else {})
    return [row for row in found if row[0].partition(".")[0] in ("MODEL", *map(str.upper, modes))]


def choose_gpu(use_gpu: bool | None) -> bool:
    """Whether to run on a GPU: as asked where possible, with a notice where `True` cannot be had."""
    available = compat.gpu_available()
    if use_gpu and not available:
        log.warning("use_gpu True: this Paddle cannot use a GPU here; running on the CPU")
    return available if use_gpu is None else use_gpu and available


def class_names(config: Any, state: Mapping[str, Any] | None = None) -> list[str]:
    """Names of the classes in index order. Raises ConfigError if their number is wrong.

    The first that exists is used: MODEL.class_names, the names in a checkpoint's `state`, INFER.kinetics_labels, the
    names of Kinetics-400 for 400 classes, numbers such as `class 7`.
    """
    model, labels = config.MODEL, getattr(config.INFER, "kinetics_labels", None)
    state = state or {}
    travelling = [str(name) for name in state.get("class_names", [])]
    theirs = travelling and model.class_names == (state["config"].get("MODEL") or {}).get("class_names")
    if model.class_names and not (theirs and not addresses.exists(model.class_names)):  # theirs may have stayed behind
        names, origin = read_names(model.class_names), model.class_names
    elif len(travelling) == model.num_classes:
        if labels:
            log.info("class names come from the checkpoint; INFER.kinetics_labels '%s' is not read", labels)
        return travelling
    elif labels and addresses.exists(labels):
        names, origin = _json_names(labels), labels
    else:
        return _usual_names(model.num_classes, labels)
    if len(names) != model.num_classes:
        raise ConfigError(f"'{origin}' names {len(names)} classes, MODEL.num_classes is '{model.num_classes}'")
    return names


def _usual_names(count, missing):
    """Kinetics-400's names for 400 classes, else numbers; `missing`: the file of names that is not there, or None."""
    if missing:
        instead = "those of Kinetics-400" if count == 400 else "numbers"
        log.warning("INFER.kinetics_labels '%s' does not exist; classes are called by %s", missing, instead)
    return read_names(KINETICS_NAMES) if count == 400 else [f"class {i}" for i in range(count)]


def _json_names(path):
    try:
        with addresses.reading(path) as file:
            names = parse_json(file.read_text(encoding="utf-8"))
    except (ObjectError, OSError, ValueError) as error:
        raise ConfigError(f"INFER.kinetics_labels '{path}' cannot be read: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"INFER.kinetics_labels '{path}': expected a JSON list of class names")
    return names
