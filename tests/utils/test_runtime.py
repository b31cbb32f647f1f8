"""Process settings: applied by programs only, and read as OpenMP reads them."""

import os
import subprocess
import sys

import pytest

from support.goldens import ROOT
from utils import runtime


@pytest.mark.parametrize("given, threads", [("3", 3), ("4,2", 4), (" 2 ", 2)])
def test_threads_of_a_list(given, threads, monkeypatch):
    """OpenMP takes one number a level of nesting; the first is the outermost."""
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert runtime.threads() == threads


@pytest.mark.parametrize("given", ["", "x", "0", "-1"])
def test_without_a_number_all_cores_are_used(given, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert runtime.threads() == runtime.cores()


def test_programs_apply_them_and_imports_do_not():
    code = (
        "import os; before = dict(os.environ); from utils import cli, runtime; assert dict(os.environ) == before; "
        "runtime.apply(); print(os.environ['OMP_NUM_THREADS'], runtime.set_by_user('OMP_NUM_THREADS'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    for given, expected in (({}, f"{runtime.cores()} False"), ({"OMP_NUM_THREADS": "7"}, "7 True")):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**environment, **given}, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected, done.stderr
