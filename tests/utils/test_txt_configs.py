"""The recipes in the old zoo's form are there, and say what the YAML says."""

import importlib.util
import shutil

import pytest

from engine.configuration import SHIPPED, configure
from support.goldens import ROOT
from support.tinynet import ZOO

spec = importlib.util.spec_from_file_location("write_txt_configs", ROOT / "scripts" / "write_txt_configs.py")
writer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(writer)


@pytest.mark.parametrize("model", ZOO.values(), ids=ZOO)
def test_the_txt_is_what_the_command_writes(model, tmp_path):
    recipe = SHIPPED / f"{model.slug}.yaml"
    path = recipe.with_suffix(".txt")
    assert path.read_text(encoding="utf-8") == writer.text(recipe)
    copy = shutil.copy(path, tmp_path / "mine.txt")
    assert configure(None, copy) == configure(None, recipe)
