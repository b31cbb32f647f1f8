"""What an extractor is: a clip model, its weights and its settings, as the section EXTRACTOR of a configuration.

described("TSN")                    -> EXTRACTOR section   (a name, a checkpoint, or model, config and weights)
overrides(section, save_dir)        -> keys that make a feature model read its features
identity(section)                   -> what two extractors must share to give the same features
"""

import hashlib
import json
import os
from pathlib import Path

from engine.checkpoints import finding
from engine.configuration import SHIPPED, configure
from engine.weights import load as weight_files
from engine.weights import released
from models import MODELS, find
from models.base import ClipModel
from storage import addresses
from utils.config.features import ExtractorSection
from utils.config.schema import Config
from utils.errors import ConfigError, WeightsError

__all__ = [
    "clip_model",
    "described",
    "identity",
    "overrides",
    "recorded",
    "require",
    "require_reader",
    "sampled",
    "weights_of",
]

RECIPES = {"TSN": "tsn_lite"}  # of the models whose usual weights are not those of configs/<model>.yaml
OWN = {"I3D": {"MODEL.seglen": 16}}  # windows of a second's half, where a clip of 64 frames would be taken
KEPT = (  # keys of MODEL that decide what the pooled features are
    "backbone num_layers seglen frame_interval image_mean image_std resize resize_kernel edition temporal_scales flow"
).split()
VERSION = 1  # of the way rows are made


def described(
    source: str | None = None,
    name: str | None = None,
    config: str | None = None,
    weights: str | None = None,
    settings: dict | None = None,
) -> ExtractorSection:
    """The extractor of a model's name or a checkpoint (`source`), or of what infer.py takes.

    settings: {"SECTION.key": value} of its configuration. Raises ConfigError, WeightsError.
    """
    if source:
        known = {model.lower() for model in MODELS}
        name, weights = (source, None) if source.lower() in known else (None, source)
    if weights is None and config is None and name and find(name).name in RECIPES:
        config = str(SHIPPED / f"{RECIPES[find(name).name]}.yaml")
    own = OWN.get(find(name).name, {}) if name else {}
    model_class, found = configure(name, config, {**own, **(settings or {})}, weights)
    if not issubclass(model_class, ClipModel):
        raise ConfigError(
            f"'{source or name or weights}' is a {model_class.name}, which reads features; features come from a clip "
            f"model: {', '.join(known.name for known in MODELS.values() if issubclass(known, ClipModel))}"
        )
    keys = {f"MODEL.{key}": getattr(found.MODEL, key) for key in KEPT if hasattr(found.MODEL, key)}
    keys |= {f"INFER.{key}": getattr(found.INFER, key) for key in ("short_size", "target_size")}
    keys = {key: value for key, value in keys.items() if value is not None}
    path = None if weights is None else str(_absolute(weights, model_class.name))
    section = ExtractorSection(model=model_class.name, weights=path, settings=keys)
    return section.model_copy(update={"sha256": _digest(_file(section)[0])})


def sampled(section: ExtractorSection, every: float, rows: int | None, least: int | None) -> ExtractorSection:
    """The section with another sampling. Raises ConfigError."""
    try:
        return ExtractorSection(**section.model_dump() | {"every": every, "rows": rows, "least": least})
    except ValueError as error:
        raise ConfigError(f"--every '{every}': expected seconds between two rows, above 0") from error


def _absolute(path, model):
    prefix = finding.of_weights(path, model)
    found = path if prefix is None else prefix
    return found if addresses.is_remote(found) or "://" in str(found) else Path(found).absolute()


def clip_model(section: ExtractorSection, more: dict | None = None) -> ClipModel:
    """The clip model of an extractor, in inference mode, with `more` {"SECTION.key": value}. Raises ConfigError."""
    model_class, config = configure(section.model, None, {**section.settings, "MODEL.num_classes": 2, **(more or {})})
    return model_class(config, "infer")


def weights_of(section: ExtractorSection) -> tuple[str | os.PathLike, object]:
    """(weights, the rule of engine/weights/load.py to read them by) of an extractor.

    Raises WeightsError, ConfigError where they are missing or not those that it was made with.
    """
    path, rule = _file(section)
    found = _digest(path)
    if section.sha256 and section.sha256 != found:
        raise WeightsError(
            f"the extractor's weights '{path}' have the SHA-256 {found[:16]}..., features were made with "
            f"{section.sha256[:16]}...; give those weights with -o EXTRACTOR.weights=PATH"
        )
    return (section.weights or path), rule


def _file(section):
    """(the local file of the weights, the rule to read them by)."""
    model = clip_model(section)
    try:
        if section.weights:
            return weight_files.file_of(section.weights, model.name), weight_files.strict
        if model.released in released.RELEASED:
            return released.released(model.released), weight_files.strict
        if model.pretrained in released.BACKBONES:
            return Path(weight_files.require_pretrained(None, model)), weight_files.backbone
    except (WeightsError, ConfigError) as error:
        raise WeightsError(
            f"the extractor {model.name} has no weights here: {error}; give them with -o EXTRACTOR.weights=PATH"
        ) from error
    raise ConfigError(
        f"{model.name} has no released weights to extract features with; give a checkpoint of it instead of its name"
    )


def _digest(path):
    """SHA-256 of a file, or of the files of a folder."""
    if not Path(path).is_dir():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    parts = [_digest(each) for each in sorted(Path(path).rglob("*")) if each.is_file()]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def identity(section: ExtractorSection) -> str:
    """A hash of all that decides which features a clip gets."""
    content = section.model_dump(include={"model", "sha256", "every", "rows", "least", "settings"})
    return hashlib.sha256(json.dumps([VERSION, content], sort_keys=True).encode()).hexdigest()


def recorded(config: Config) -> dict | None:
    """What made the features that a configuration's lists name, for checkpoints; None where it does not say."""
    section = getattr(config, "EXTRACTOR", None)
    return section.model_dump() if section and section.model else None


def require(section: ExtractorSection) -> None:
    """Raise ConfigError where a configuration names no extractor."""
    if not section.model:
        raise ConfigError(
            "these are clips, and this model was not trained on features of clips: it does not say what extracts them; "
            "train it with --features_from, or give feature shards"
        )


def require_reader(name: str | None) -> None:
    """Raise ConfigError unless a model of this name reads features."""
    readers = [model.name for model in MODELS.values() if model.data == "features"]
    if not name or find(name).name not in readers:
        raise ConfigError(
            f"--features_from is for models that read features; give --model_name of {', '.join(readers)}, not "
            f"'{name or ''}'"
        )


def overrides(section: ExtractorSection, save_dir: str | os.PathLike) -> dict:
    """{"SECTION.key": value} that make a feature model read the features of an extractor, kept under `save_dir`."""
    folder = addresses.join(save_dir, "features")
    named = section.model_dump(include={"model", "weights", "sha256", "settings"})
    found = {f"EXTRACTOR.{key}": value for key, value in named.items()}
    if not addresses.is_remote(folder):
        found["EXTRACTOR.cache"] = str(Path(folder).absolute())
    return {**found, **layout(section)}


def layout(section: ExtractorSection, dtype: str = "float") -> dict:
    """The keys of MODEL that describe the features of an extractor."""
    return {
        "MODEL.feature_names": ["rgb"],
        "MODEL.feature_dims": [clip_model(section).width],
        "MODEL.feature_type": dtype,
    }
