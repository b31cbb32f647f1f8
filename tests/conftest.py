"""What every test shares: the network of two convolutions, Ctrl-C as in a shell, and memory given back."""

import gc
import signal

import pytest

import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)
from support import tinynet

tinynet.register()
# A script's background jobs ignore Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _memory_is_given_back():
    """Programs and scopes hang in cycles, with gigabytes behind them that Python's collector does not see."""
    yield
    gc.collect()
