"""Write configs/<model>.txt, the old zoo's form of the recipes, from configs/<model>.yaml.

python scripts/write_txt_configs.py
"""

from pathlib import Path

import yaml

from storage.files import replacing

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
HEAD = """; The values of {name}.yaml, which says what each key means, in the old zoo's form.
; Written by `python scripts/write_txt_configs.py`: change the .yaml, or a copy of this file.
"""


def text(recipe: Path) -> str:
    """The content of the .txt file for a .yaml recipe: sections of `key = value`, values as Python writes them."""
    tree = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    sections = [
        "\n".join([f"[{section}]", *(f"{key} = {value!r}" for key, value in keys.items())])
        for section, keys in tree.items()
    ]
    return "\n".join([HEAD.format(name=recipe.stem), "\n\n".join(sections), ""])


if __name__ == "__main__":
    for recipe in sorted(CONFIGS.glob("*.yaml")):
        with replacing(recipe.with_suffix(".txt")) as path:
            path.write_text(text(recipe), encoding="utf-8")
