"""Configuration files: YAML or the old INI `.txt`, the same values from both, layered and validated.

    shipped YAML of the model  <  the user's file  <  the command line
A later layer that sets MODEL.seg_num replaces the per-mode seg_num of the layers below it, so that the number a user
wrote is the number that counts.
"""

import ast
import configparser
import logging
import re
from pathlib import Path

import yaml
from pydantic import ValidationError

from storage import addresses
from utils.config import mindspore
from utils.config.schema import MODES
from utils.errors import ConfigError, ObjectError, nearest, public, unknown

log = logging.getLogger("zoo")

SHIPPED = Path(__file__).resolve().parents[2] / "configs"
SECTIONS = ("MODEL", *(mode.upper() for mode in MODES))
_RENAMED = {"tpn_kinetics400": "tpn"}  # file names of other editions -> the shipped file's stem


def literal(text):
    """The Python literal a string spells (`1e-4`, `None`, `[1, 2]`, `'quoted'`), else the string itself. Never code."""
    if not isinstance(text, str):
        return text
    try:
        value = ast.literal_eval(text.strip())
        return text.strip() if isinstance(value, int) and value.bit_length() > 64 else value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text.strip()


def locate(path):
    """The file that `path` means: itself, its sibling with another ending, or the shipped file of that name; or an address."""
    if addresses.is_remote(path) or Path(path).is_file():
        return path
    path = Path(path)
    if path.is_dir():
        inside = nearest(
            "clips.yaml", [found.name for found in path.iterdir() if found.suffix in (".yaml", ".yml", ".txt")]
        )
        raise ConfigError(
            f"--config '{path}' is a folder; give a file in it" + (f", such as '{path / inside}'" if inside else "")
        )
    stem = _RENAMED.get(path.stem, path.stem)
    for folder in (path.parent, SHIPPED):
        for ending in (".yaml", ".yml", ".txt"):
            candidate = folder / f"{stem}{ending}"
            if candidate.is_file():
                log.info("config '%s' does not exist; using '%s'", path, candidate)
                return candidate
    known = ", ".join(sorted(str(found.relative_to(SHIPPED)) for found in SHIPPED.rglob("*.yaml")))
    raise ConfigError(f"--config '{path}' does not exist; shipped in configs/: {known}")


def read(path):
    """{section: {key: value}} of a `.yaml`/`.yml` file or of an old INI file (any other ending)."""
    path = locate(path)
    try:
        with addresses.reading(path) as file:
            text = file.read_text(encoding="utf-8-sig")
        if addresses.suffix(path) == ".py":
            mindspore.refuse_program(path)
        if addresses.suffix(path) not in (".yaml", ".yml"):
            return _from_ini(text)
        tree = _document(text)
        if not mindspore.is_flat(tree):
            return _from_yaml(tree)
        layer, _, notice = mindspore.sections(tree)
        log.info("config '%s' has MindSpore's keys: %s", path, notice)
        return _from_yaml(layer)
    except ObjectError as error:
        raise ConfigError(f"config {error}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(
            f"config '{path}'"
            + (f", line {mark.line + 1}: " if mark else ": ")
            + " ".join(part for part in (error.problem, error.context) if part)
            + "; expected sections of indented `key: value` lines; quote a value that holds : # or brackets"
        ) from error
    except configparser.Error as error:
        raise ConfigError(
            f"config '{path}'{_ini_problem(error)}; expected [SECTION] lines and `key = value` lines"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"config '{path}' nests too deep; expected sections of `key: value` lines") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ConfigError(f"config '{path}' cannot be read: {reason}") from error


def _ini_problem(error):
    """Where and what configparser stumbled over, in one line."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f", line {error.lineno}: '{error.line.strip()}' stands before any section"
    if isinstance(error, configparser.ParsingError):
        number, text = error.errors[0]
        return f", line {number}: '{literal(text).strip()}' is no `key = value`"
    if isinstance(error, configparser.DuplicateOptionError):
        return f", line {error.lineno}: '{error.option}' stands twice in [{error.section}]; keep one"
    if isinstance(error, configparser.DuplicateSectionError):
        return f", line {error.lineno}: [{error.section}] stands there twice; keep one"
    return ": " + " ".join(str(error).split())


class _Strict(yaml.SafeLoader):
    """PyYAML lets the last of two equal keys win in silence."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [str(key) for i, key in enumerate(keys) if key in keys[:i]]
        if twice:
            raise ValueError(f"'{twice[0]}' stands there twice; keep one")
        return super().construct_mapping(node, deep)


def flags(path):
    """{flag: value} that a flat file of MindSpore's keys gives; none for any other, and for one that cannot be read."""
    try:
        tree = _document(Path(path).read_text(encoding="utf-8-sig")) if path.endswith((".yaml", ".yml")) else {}
        return mindspore.sections(tree)[1] if mindspore.is_flat(tree) else {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError):  # `read` says what is wrong
        return {}


def _document(text):
    """The first document of a YAML file; MindSpore's have a second and a third, with help texts."""
    return next(iter(yaml.load_all(text, _Strict)), None) or {}  # a SafeLoader


def _from_yaml(tree):
    if not isinstance(tree, dict) or not all(isinstance(keys, dict | None) for keys in tree.values()):
        raise ValueError("expected sections (MODEL, TRAIN, VALID, TEST, INFER) of `key: value` lines")
    return {
        str(name).upper(): {key: literal(_plain(name, key, value)) for key, value in (keys or {}).items()}
        for name, keys in tree.items()
    }


def _plain(section, key, value):
    """A value as a config may hold it. Aliases can make a few lines of YAML stand for more than any memory holds."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    if any(isinstance(each, list | dict) for each in inside):
        raise ValueError(
            f"{section}.{key} holds lists in lists; expected a value, a list of values, or names with a value each"
        )
    if any(isinstance(each, int) and each.bit_length() > 64 for each in (value, *inside)):
        raise ValueError(f"{section}.{key} is a number too large for anything")
    return value


def _from_ini(text):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return {name.upper(): {key: literal(value) for key, value in parser[name].items()} for name in parser.sections()}


def nested(overrides):
    """{'TRAIN.batch_size': 4} -> {'TRAIN': {'batch_size': 4}}; values given as text are read as literals."""
    layer = {}
    for dotted, value in overrides.items():
        section, _, key = dotted.partition(".")
        if section.upper() not in SECTIONS or not key:
            raise ConfigError(
                f"override '{dotted}': expected SECTION.key=value with a section of {', '.join(SECTIONS)}"
            )
        layer.setdefault(section.upper(), {})[key] = literal(value)
    return layer


def merge(*layers):
    """Later layers win, key by key; see the module docstring for seg_num."""
    merged = {}
    for layer in layers:
        if "seg_num" in layer.get("MODEL", {}):
            for mode in MODES:
                merged.get(mode.upper(), {}).pop("seg_num", None)
        for section, keys in layer.items():
            merged.setdefault(section, {}).update(keys)
    return merged


def modern(schema, layer, source):
    """`layer` with the old names of keys (`renamed` of its section's class) replaced by what they are called now. It is done layer
    by layer, so that an old name in a user's file beats the new one in the shipped file."""
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


def validate(schema, tree, source, overrides=None, recipe=None):
    """An instance of `schema` from nested dictionaries.

    ConfigError names the key, the value, what was expected, and whether it came from the file `source` or from the `overrides`
    {section: {key: value}} that were merged into the tree. `recipe`: what the shipped file says, for messages."""
    tree, notices = _without_retired(schema, tree)
    try:
        config = schema.model_validate(tree)
    except ValidationError as error:
        problems = {}
        for item in error.errors():
            section, key = (*item["loc"], None, None)[:2]
            overridden = key in (overrides or {}).get(section, {})
            origin = "command line or overrides" if overridden else f"config '{source}'"
            problems.setdefault(origin, []).append(_sentence(schema, item, recipe or {}))
        raise ConfigError("; ".join(f"{origin}: {'; '.join(found)}" for origin, found in problems.items())) from error
    if notices:
        log.info("config '%s': accepted without effect: %s", source, "; ".join(notices))
    return config


def _without_retired(schema, tree):
    kept, notices = {}, []
    for section, keys in tree.items():
        field = schema.model_fields.get(section)
        retired = field.annotation.retired if field else {}
        kept[section] = {key: value for key, value in keys.items() if key not in retired}
        notices += [f"{section}.{key} ({retired[key]})" for key in keys if key in retired]
    return kept, notices


def _sentence(schema, item, recipe):
    location, kind = item["loc"], item["type"]
    dotted = ".".join(str(part) for part in location)
    if kind == "extra_forbidden" and len(location) == 1:
        return unknown("section", dotted, schema.model_fields)
    if kind == "extra_forbidden":
        section = schema.model_fields[location[0]].annotation
        return unknown(f"key in {location[0]}", location[1], section.model_fields, section.renamed)
    message = item["msg"].removeprefix("Value error, ")
    if not location:
        return message
    expected = _EXPECTED.get(kind)
    if expected:
        message = (
            "expected " + expected.format(**item.get("ctx", {})) + _closest(item) + _about(schema, location, recipe)
        )
    return f"{dotted} = '{item['input']}': {message}"


# What is expected, by pydantic's kinds of error; its own words are for programmers.
_EXPECTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "True or False"),
    "string_type": "text",
    "list_type": "a list, for example [1, 2]",
    "dict_type": "names with a value each, for example {{backbone: 0.1}}",
    "greater_than_equal": "a number of at least {ge}",
    "greater_than": "a number above {gt}",
    "less_than_equal": "a number of at most {le}",
    "less_than": "a number below {lt}",
    "too_short": "at least {min_length} values, found {actual_length}",
    "too_long": "at most {max_length} values, found {actual_length}",
    "literal_error": "{expected}",
    "model_type": "a section of keys",
}


def _closest(item):
    """The nearest of some choices: numbers by distance, words by spelling."""
    choices = (
        [word or number for word, number in re.findall(r"'([^']*)'|(\d+)", item["ctx"]["expected"])]
        if item["type"] == "literal_error"
        else []
    )
    value = item["input"]
    if choices and isinstance(value, int | float) and all(map(str.isdigit, choices)):
        guess = min(choices, key=lambda choice: abs(int(choice) - value))
    else:
        guess = nearest(value, choices)
    return f"; did you mean '{guess}'?" if guess else ""


def _about(schema, location, recipe):
    """What a key means, and the value it has when nobody sets it."""
    section = schema.model_fields.get(location[0])
    field = getattr(section.annotation, "model_fields", {}).get(location[1]) if section and len(location) > 1 else None
    if field is None:
        return ""
    default = recipe.get(location[0], {}).get(location[1], field.default)
    return f" ({field.description})" + ("" if default is None else f"; the default is {default}")


def describe(config, mode):
    """The merged configuration as text, in the layout the old zoo printed."""
    lines = [f"{'-' * 16} {mode.capitalize():>5} Arguments {'-' * 16}"]
    for section, keys in config.model_dump().items():
        lines.append(f"{section}:")
        lines += [f"    {key}:{value}" for key, value in keys.items()]
    return public("\n".join([*lines, "-" * 49]))
