"""The share of time spent waiting for data, the sentence about it, and the wish to stop."""

import os
import signal
import time

import pytest

from engine.meter import StepTimes
from engine.stop import StopSignal


def times(waited, computed, steps=6):
    found = StepTimes()
    for _ in range(steps):
        found.add(waited, computed, samples=4)
    return found


def test_slow_data_is_said_in_words():
    found = times(waited=0.05, computed=0.005)
    assert found.data_share > 0.5 and "raise TRAIN.num_reader_threads" in found.advice()
    assert found.samples_per_second == pytest.approx(4 / 0.055)
    assert found.line(remaining=100) == "72.7 samples/s, data 91%, ETA 0:00:06"


def test_fast_data_is_not():
    assert times(waited=0.0, computed=0.02).advice() is None


def test_an_epoch_of_one_step_has_a_time():
    """The old zoo averaged over no step and printed nan."""
    assert times(0.0, 0.01, steps=1).seconds_per_step == 0.01


def test_the_first_ctrl_c_is_a_wish_and_the_second_interrupts():
    """Quirk 26: the old zoo's handler killed the whole process group."""
    before = signal.getsignal(signal.SIGINT)
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_closed_terminal_is_a_wish_unless_it_is_ignored():
    for handler, requested in ((signal.SIG_DFL, True), (signal.SIG_IGN, False)):  # the second is what nohup does
        before = signal.signal(signal.SIGHUP, handler)
        try:
            with StopSignal() as stop:
                os.kill(os.getpid(), signal.SIGHUP)
                assert stop.requested == requested
        finally:
            signal.signal(signal.SIGHUP, before)


def test_a_launchers_burst_of_sigterms_is_one_wish():
    with StopSignal(patience={signal.SIGTERM: 0.3}) as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.02)
        assert stop.requested
        time.sleep(0.3)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
