"""Tests import the project's rooms and `support` (goldens, small data) whatever folder pytest was started from."""

import gc
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT, ROOT / "tests"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope="module", autouse=True)
def _memory_is_given_back():
    """Programs and scopes hang in cycles, with gigabytes behind them that Python's collector does not see."""
    yield
    gc.collect()
