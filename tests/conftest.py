"""What every test shares: the network of two convolutions is registered, and memory is given back."""

import gc

import pytest

from support import tinynet

tinynet.register()


@pytest.fixture(scope="module", autouse=True)
def _memory_is_given_back():
    """Programs and scopes hang in cycles, with gigabytes behind them that Python's collector does not see."""
    yield
    gc.collect()
