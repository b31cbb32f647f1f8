"""What a configuration has that the shipped recipe of its model has not."""

from typing import Any

from utils.config.reading import SHIPPED, read
from utils.errors import public


def differences(config, slug: str) -> list[tuple[str, Any, Any]]:
    """[(SECTION.key, value of the recipe, value here)] of a validated configuration, in the order of its keys.

    slug: name of the recipe, such as "tsn". The recipe's missing keys have their defaults. Secrets in addresses are hidden.
    """
    recipe = type(config).model_validate(read(SHIPPED / f"{slug}.yaml")).model_dump()
    return [
        (f"{section}.{key}", _shown(recipe[section][key]), _shown(value))
        for section, keys in config.model_dump().items()
        for key, value in keys.items()
        if recipe[section][key] != value
    ]


def _shown(value):
    return public(value) if isinstance(value, str) else value
