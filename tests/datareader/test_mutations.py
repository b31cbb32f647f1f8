"""Damaged files neither crash a reader nor hang it, whatever the damage."""

import subprocess
import sys

import pytest

from support.goldens import ROOT


@pytest.mark.parametrize("inputs", [200, pytest.param(4000, marks=pytest.mark.slow)])
def test_mutated_files(inputs):
    process = subprocess.run(
        [sys.executable, ROOT / "tests/support/mutations.py", f"--inputs={inputs}"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = process.stdout.splitlines()
    assert process.returncode == 0, "\n".join([*lines[-1:], process.stderr])
    counts = [[int(word) for word in line.split() if word.isdigit()] for line in lines[-8:]]
    assert sum(map(sum, counts)) == inputs
    assert all(refused for _, refused in counts) and sum(read for read, _ in counts) > inputs / 20
