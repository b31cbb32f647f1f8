"""What every test shares: the network of two convolutions, groups for several test processes, and memory given back."""

import gc
import signal

import pytest

import utils.main_program  # noqa: F401  (process settings, before Paddle is imported)
from support import tinynet

FULL_SIZE = ("tests/models/", "tests/engine/test_exported.py", "tests/engine/test_every_form.py")  # gigabytes each

tinynet.register()
# A script's background jobs ignore Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests by process: all tests of a file in one, because they share fixtures.

    All tests of full-size networks run in one process, which starts first: memory is enough for one of them at a time.
    """
    for item in items:
        full_size = item.nodeid.startswith(FULL_SIZE)
        item.add_marker(pytest.mark.xdist_group("full size" if full_size else item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: not item.nodeid.startswith(FULL_SIZE))


@pytest.fixture(scope="module", autouse=True)
def _memory_is_given_back():
    """Programs and scopes hang in cycles, with gigabytes behind them that Python's collector does not see."""
    yield
    gc.collect()
