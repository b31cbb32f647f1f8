"""Where a configuration differs from its recipe."""

from typing import Any

from utils.config.reading import Layer
from utils.config.schema import Config
from utils.errors import redact_urls


def differences(config: Config, recipe: Layer) -> list[tuple[str, Any, Any]]:
    """[(SECTION.key, value of the recipe, value here)] of a validated configuration, in the order of its keys.

    recipe: {section: {key: value}}; keys that it lacks have their defaults. Secrets in addresses are hidden.
    """
    base = type(config).model_validate(recipe).model_dump()
    return [
        (f"{section}.{key}", _shown(base[section][key]), _shown(value))
        for section, keys in config.model_dump().items()
        for key, value in keys.items()
        if base[section][key] != value and (section, key) != ("MODEL", "name")
    ]


def _shown(value):
    return redact_urls(value) if isinstance(value, str) else value
