"""What is wrong with a configuration, in words that name the key, the value, what was expected and the default."""

import configparser
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from utils.config.schema import Config
from utils.errors import nearest, redact_urls, unknown

__all__ = ["describe", "ini_problem", "validation_problems", "yaml_problem"]

MOST = 10  # problems told at once

# What is expected, by pydantic's kinds of error. Pydantic's own words are for programmers.
EXPECTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "True or False"),
    "string_type": "text",
    "list_type": "a list, for example [1, 2]",
    "dict_type": "a mapping of names to values, for example {{backbone: 0.1}}",
    "greater_than_equal": "a number of at least {ge}",
    "greater_than": "a number above {gt}",
    "less_than_equal": "a number of at most {le}",
    "less_than": "a number below {lt}",
    "too_short": "at least {min_length} values, found {actual_length}",
    "too_long": "at most {max_length} values, found {actual_length}",
    "literal_error": "{expected}",
    "model_type": "a section of keys",
}


def yaml_problem(error: yaml.MarkedYAMLError) -> str:
    """Where and why PyYAML stopped; follows the file's name in a message."""
    mark = error.problem_mark or error.context_mark
    place = f", line {mark.line + 1}: " if mark else ": "
    reason = " ".join(part for part in (error.problem, error.context) if part)
    return (
        f"{place}{reason}; expected sections of indented `key: value` lines; quote a value that holds : # or brackets"
    )


def ini_problem(error: configparser.Error) -> str:
    """Where and why configparser stopped; follows the file's name in a message."""
    found = ": " + " ".join(str(error).split())
    if isinstance(error, configparser.MissingSectionHeaderError):
        found = f", line {error.lineno}: '{error.line.strip()}' stands before any section"
    elif isinstance(error, configparser.ParsingError):
        number, text = error.errors[0]
        line = text.strip("'\"").removesuffix("\\n").strip()  # configparser gives the line as Python writes it
        found = f", line {number}: '{line}' is no `key = value`"
    elif isinstance(error, configparser.DuplicateOptionError):
        found = f", line {error.lineno}: '{error.option}' stands twice in [{error.section}]; keep one"
    elif isinstance(error, configparser.DuplicateSectionError):
        found = f", line {error.lineno}: [{error.section}] stands there twice; keep one"
    return f"{found}; expected [SECTION] lines and `key = value` lines"


def validation_problems(
    schema: type[Config],
    error: ValidationError,
    source: str | Path,
    overrides: dict[str, dict[str, Any]],
    recipe: dict[str, dict[str, Any]],
) -> str:
    """The problems that pydantic found, as one sentence each, grouped by where the values came from.

    `source`, `overrides` and `recipe` as in `validate`.
    """
    problems, found = {}, error.errors()
    for item in found[:MOST]:
        section, key = (*item["loc"], None, None)[:2]
        overridden = key in overrides.get(section, {})
        origin = "command line or overrides" if overridden else f"config '{source}'"
        problems.setdefault(origin, []).append(_sentence(schema, item, recipe))
    text = "; ".join(f"{origin}: {'; '.join(sentences)}" for origin, sentences in problems.items())
    return text if len(found) <= MOST else f"{text}; and {len(found) - MOST} more"


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
    expected = EXPECTED.get(kind)
    if expected:
        expected = expected.format(**item.get("ctx", {}))
        message = f"expected {expected}{_closest(item)}{_about(schema, location, recipe)}"
    return f"{dotted} = '{item['input']}': {message}"


def _closest(item):
    """The nearest of some choices: numbers by distance, words by spelling."""
    if item["type"] != "literal_error":
        return ""
    choices = [word or number for word, number in re.findall(r"'([^']*)'|(\d+)", item["ctx"]["expected"])]
    value = item["input"]
    if isinstance(value, int | float) and all(map(str.isdigit, choices)):
        guess = min(choices, key=lambda choice: abs(int(choice) - value))
    else:
        guess = nearest(value, choices)
    return f"; did you mean '{guess}'?" if guess else ""


def _about(schema, location, recipe):
    """Description and default value of a key."""
    section = schema.model_fields.get(location[0])
    field = getattr(section.annotation, "model_fields", {}).get(location[1]) if section and len(location) > 1 else None
    if field is None:
        return ""
    default = recipe.get(location[0], {}).get(location[1], field.default)
    shown = "" if default is None else f"; the default is {default}"
    return f" ({field.description}){shown}"


def describe(config: Config, mode: str) -> str:
    """The merged configuration as text, in the layout that the old zoo printed."""
    lines = [f"{'-' * 16} {mode.capitalize():>5} Arguments {'-' * 16}"]
    for section, keys in config.model_dump().items():
        lines.append(f"{section}:")
        lines += [f"    {key}:{value}" for key, value in keys.items()]
    return redact_urls("\n".join([*lines, "-" * 49]))
