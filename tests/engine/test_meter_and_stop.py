"""The share of time spent waiting for data, the sentence about it, and the wish to stop."""

import os
import signal
import time

import pytest

from engine.meter import Meter
from engine.stop import PATIENCE, StopRequest


def slow(seconds, count):
    for i in range(count):
        time.sleep(seconds)
        yield i


def run(data_seconds, compute_seconds, steps=6):
    meter, items = Meter(steps, 0), slow(data_seconds, steps)
    while meter.wait_for(items) is not None:
        meter.compute(lambda: time.sleep(compute_seconds), samples=4)
    return meter


def test_slow_data_is_said_in_words():
    meter = run(data_seconds=0.05, compute_seconds=0.005)
    assert meter.data_share > 0.5 and "raise TRAIN.num_reader_threads" in next(meter.verdict())
    assert meter.samples_per_second > 0 and meter.remaining == 0


def test_fast_data_is_not():
    assert not list(run(data_seconds=0.0, compute_seconds=0.02).verdict())


def test_an_epoch_of_one_step_has_a_time():
    """The old zoo averaged over no step and printed nan."""
    assert 0.0 < run(0.0, 0.01, steps=1).seconds_per_step < 10.0


def test_the_first_ctrl_c_is_a_wish_and_the_second_interrupts():
    """Quirk 26: the old zoo's handler killed the whole process group."""
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_launchers_burst_of_sigterms_is_one_wish(monkeypatch):
    with StopRequest() as stop:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.02)
        assert stop.requested
        monkeypatch.setitem(PATIENCE, signal.SIGTERM, 0.01)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
