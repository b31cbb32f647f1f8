"""The recipes in the old zoo's form are there, and say what the YAML says."""

import runpy
import shutil

import pytest

from engine.configuration import SHIPPED, configure
from support.goldens import ROOT

text = runpy.run_path(str(ROOT / "scripts" / "write_txt_configs.py"))["text"]


@pytest.mark.parametrize("recipe", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_txt_is_what_the_command_writes(recipe, tmp_path):
    path = recipe.with_suffix(".txt")
    assert path.read_text(encoding="utf-8") == text(recipe), "run python scripts/write_txt_configs.py"
    copy = shutil.copy(path, tmp_path / "mine.txt")
    assert configure(None, copy) == configure(None, recipe)
