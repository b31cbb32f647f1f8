"""The recipes in the old zoo's form are there, and say what the YAML says."""

import importlib.util
import shutil

import pytest

from engine.configuration import SHIPPED, configure
from support.goldens import ROOT

spec = importlib.util.spec_from_file_location("write_txt_configs", ROOT / "scripts" / "write_txt_configs.py")
writer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(writer)


@pytest.mark.parametrize("recipe", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_txt_is_what_the_command_writes(recipe, tmp_path):
    path = recipe.with_suffix(".txt")
    assert path.read_text(encoding="utf-8") == writer.text(recipe), "run python scripts/write_txt_configs.py"
    copy = shutil.copy(path, tmp_path / "mine.txt")
    assert configure(None, copy) == configure(None, recipe)
