"""The text of configuration files (YAML or the old INI `.txt`) and the layers made of it.

    shipped YAML of the model  <  the user's file  <  the command line

Both forms give the same values. A layer that sets MODEL.seg_num removes the per-mode seg_num of the layers below it, so
that the number a user wrote is the number that counts. A layer that changes the number of a feature model's inputs
removes PER_FEATURE. Files are found and opened by engine/configuration.py.
"""

import ast
import configparser
import logging
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from utils.config import mindspore
from utils.config.messages import ini_problem, validation_problems, yaml_problem
from utils.config.schema import MODES, Config
from utils.errors import ConfigError, shown

__all__ = ["MAX_BYTES", "Layer", "apply_renames", "literal", "merge", "mindspore_flags", "nested", "parse", "validate"]

log = logging.getLogger("zoo")

Layer = dict[str, dict[str, Any]]  # {section: {key: value}}

SECTIONS = ("MODEL", *(mode.upper() for mode in MODES), "EXTRACTOR")
PER_FEATURE = ("feature_num", "cluster_nums")  # of MODEL: they follow from the list of features
YAML = (".yaml", ".yml")
MAX_BYTES = 1 << 20  # of a configuration file; the shipped ones have 4 kB
MAX_VALUES = 10_000  # keys and values of a YAML file, each counted as often as aliases repeat it


def literal(text: Any) -> Any:
    """The Python literal that a string spells (`1e-4`, `None`, `[1, 2]`, `'quoted'`), else the string. Never code."""
    if not isinstance(text, str):
        return text
    try:
        value = ast.literal_eval(text.strip())
        return text.strip() if isinstance(value, int) and value.bit_length() > 64 else value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text.strip()


def parse(data: bytes, path: str | Path, suffix: str) -> Layer:
    """The sections in the content `data` of a configuration file: YAML for the endings of YAML, else INI.

    `path` is for messages. Raises ConfigError.
    """
    if suffix == ".py":
        mindspore.refuse_program(path)
    if len(data) > MAX_BYTES:
        raise ConfigError(f"config '{path}' is larger than {MAX_BYTES >> 20} MiB; expected a few sections of keys")
    try:
        text = data.decode("utf-8-sig")
        if suffix not in YAML:
            return _checked(_from_ini(text))
        tree = _document(text)
        if mindspore.is_flat(tree):
            tree, _, notice = mindspore.sections(tree)
            log.info("config '%s' has MindSpore's keys: %s", path, notice)
        return _checked(_from_yaml(tree))
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"config '{path}'{yaml_problem(error)}") from error
    except configparser.Error as error:
        raise ConfigError(f"config '{path}'{ini_problem(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"config '{path}' nests too deep; expected sections of `key: value` lines") from error
    except (UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"config '{path}' cannot be read: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses equal keys (PyYAML keeps the last) and too many values."""

    def __init__(self, text):
        super().__init__(text)
        self.sizes, self.total = {}, 0

    def compose_node(self, parent, index):
        is_alias = self.check_event(yaml.AliasEvent)
        before = self.total
        node = super().compose_node(parent, index)
        self.total += self.sizes.get(node, MAX_VALUES) if is_alias else 1  # an unfinished node: it contains itself
        if self.total > MAX_VALUES:
            raise ValueError(
                f"it holds more than {MAX_VALUES} values, each counted as often as aliases repeat it; expected a few "
                "sections of keys"
            )
        if not is_alias:
            self.sizes[node] = self.total - before
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise ValueError(
                    f"line {key_node.start_mark.line + 1}: a list or mapping stands where a key is expected"
                )
            if key in seen:
                raise ValueError(f"'{key}' stands there twice; keep one")
            seen.add(key)
        return super().construct_mapping(node, deep)


def mindspore_flags(path: str) -> dict[str, Any]:
    """{flag: value} from a flat file of MindSpore's keys; {} for other files and for unreadable ones."""
    if not path.endswith(YAML):
        return {}
    try:
        with open(path, "rb") as file:
            tree = _document(file.read(MAX_BYTES).decode("utf-8-sig"))
        return mindspore.sections(tree)[1] if mindspore.is_flat(tree) else {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError):  # `parse` says what is wrong
        return {}


def _document(text):
    """The first document of a YAML file; MindSpore's have a second and a third, with help texts."""
    return next(iter(yaml.load_all(text, _Loader)), None) or {}  # a SafeLoader


def _from_yaml(tree):
    if not isinstance(tree, dict) or not all(isinstance(keys, dict | None) for keys in tree.values()):
        raise ValueError("expected sections (MODEL, TRAIN, VALID, TEST, INFER) of `key: value` lines")
    return [(str(name), keys or {}) for name, keys in tree.items()]


def _from_ini(text):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return [(name, dict(parser[name])) for name in parser.sections()]


def _checked(sections):
    """{SECTION: {key: value}} of [(section, {key: value})], with section names in capital letters."""
    layer = {}
    for name, keys in sections:
        if name.upper() in layer:
            raise ValueError(f"the section '{name.upper()}' stands there twice, in other letters; keep one")
        layer[name.upper()] = {key: literal(_plain(name, key, value)) for key, value in keys.items()}
    return layer


def _plain(section, key, value):
    """A value that a configuration may hold: no lists in lists, no number beyond 64 bits."""
    if section.upper() == "EXTRACTOR" and isinstance(value, dict):  # another model's settings, some of them lists
        return {name: _plain(name, key, each) for name, each in value.items()}
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    if any(isinstance(each, list | dict) for each in inside):
        raise ValueError(
            f"{section}.{key} holds nested lists; expected a value, a list of values, or a mapping of names to values"
        )
    if any(isinstance(each, int) and each.bit_length() > 64 for each in (value, *inside)):
        raise ValueError(f"{section}.{key} is a number beyond 64 bits; give a smaller one")
    return value


def nested(overrides: dict[str, Any]) -> Layer:
    """{'TRAIN.batch_size': 4} -> {'TRAIN': {'batch_size': 4}}; values that are text are read as literals.

    Raises ConfigError.
    """
    layer = {}
    for dotted, value in overrides.items():
        section, _, key = dotted.partition(".")
        if section.upper() not in SECTIONS or not key:
            raise ConfigError(
                f"override '{dotted}': expected SECTION.key=value with a section of {', '.join(SECTIONS)}"
            )
        layer.setdefault(section.upper(), {})[key] = literal(value)
    return layer


def merge(*layers: Layer) -> Layer:
    """Later layers win, key by key; see the module docstring for seg_num and PER_FEATURE."""
    merged = {}
    for layer in layers:
        if "seg_num" in layer.get("MODEL", {}):
            for mode in MODES:
                merged.get(mode.upper(), {}).pop("seg_num", None)
        below = merged.get("MODEL", {})
        if _inputs(below) != _inputs({**below, **layer.get("MODEL", {})}):
            for key in PER_FEATURE:
                below.pop(key, None)
        for section, keys in layer.items():
            merged.setdefault(section, {}).update(keys)
    return merged


def _inputs(model: dict[str, Any]) -> int:
    """How many inputs a MODEL section of a feature model names."""
    named = model.get("inputs") or model.get("feature_names")
    return len(named) if isinstance(named, list) else 0


def apply_renames(schema: type[Config], layer: Layer, source: str | Path) -> Layer:
    """`layer` with old names of keys (`renamed` of the section's class) replaced by the present ones.

    Done layer by layer, so that an old name in a user's file beats the new one in the shipped file. `source` is named
    in messages. Raises ConfigError where both names are given.
    """
    found = {}
    for section, keys in layer.items():
        field = schema.model_fields.get(section)
        renamed = field.annotation.renamed if field else {}
        for old in keys.keys() & renamed.keys():
            if renamed[old] in keys:
                raise ConfigError(
                    f"config '{source}': {section}.{old} is the old name of {section}.{renamed[old]}; give one of them"
                )
            log.info("config '%s': %s.%s is now called %s", source, section, old, renamed[old])
        found[section] = {renamed.get(key, key): value for key, value in keys.items()}
    return found


def _require_utf8(tree: Layer) -> None:
    """Raise ConfigError for a path that is not UTF-8: a checkpoint keeps the configuration as JSON, which must be."""
    for section, keys in tree.items():
        for key, value in keys.items():
            try:
                str(value).encode("utf-8")
            except UnicodeEncodeError:
                raise ConfigError(
                    f"{section}.{key} = '{shown(value)}' is not UTF-8 text; rename the file or folder"
                ) from None


def validate(
    schema: type[Config],
    tree: Layer,
    source: str | Path,
    overrides: Layer | None = None,
    recipe: Layer | None = None,
) -> Config:
    """An instance of `schema` from the merged layers `tree`.

    `source` is the user's file, `overrides` what the command line added to it, `recipe` what the shipped file says:
    from these, messages tell where a wrong value came from and what the default is. Raises ConfigError.
    """
    kept, notices = {}, {}
    for section, keys in tree.items():
        field = schema.model_fields.get(section)
        retired = field.annotation.retired if field else {}
        kept[section] = {key: value for key, value in keys.items() if key not in retired}
        for key in keys.keys() & retired.keys():
            notices.setdefault(f"{key} ({retired[key]})", []).append(section)
    _require_utf8(kept)
    try:
        config = schema.model_validate(kept)
    except ValidationError as error:
        raise ConfigError(validation_problems(schema, error, source, overrides or {}, recipe or {})) from error
    if notices:
        lines = [f"{'/'.join(sections)}.{reason}" for reason, sections in sorted(notices.items())]
        log.info("config '%s': accepted without effect: %s", source, "; ".join(lines))
    return config
