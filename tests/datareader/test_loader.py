"""The loader: order, repeatability, bad samples, stuck readers, bounded memory, and no way to hang."""

import threading
import time

import numpy as np
import pytest

from datareader.loader import Loader
from utils.errors import DataError


class Numbers:
    """Sample i is the array [i, a random number of (seed, epoch, i)]; listed ones are bad, slow or stuck."""

    def __init__(self, count, bad=(), stuck=(), broken=(), width=2):
        self.count, self.bad, self.stuck, self.broken, self.width = count, set(bad), set(stuck), set(broken), width
        self.release, self.reads = threading.Event(), 0

    def __len__(self):
        return self.count

    def name(self, index):
        return f"sample {index}"

    def shuffled(self, rng):
        return rng.permutation(self.count)

    def buffer(self, count):
        return np.empty((count, self.width))

    def feed(self, buffer, labels):
        return {"x": buffer, "label": np.array(labels)}

    def read(self, index, epoch):
        self.reads += 1
        if index in self.bad:
            raise DataError(f"sample {index} is bad")
        if index in self.broken:
            raise RuntimeError("a bug in a reader")
        if index in self.stuck:
            self.release.wait(30)
        time.sleep(0.001 * (index % 3))
        value = np.full(self.width, float(index))
        value[-1] = np.random.default_rng([epoch, index]).random()
        return value, index % 7, f"sample {index}"


def indices(loader, epoch=0, start=0):
    return [batch.indices for batch in loader.epoch(epoch, start)]


@pytest.mark.parametrize("threads", [1, 4])
def test_order_is_the_lists_and_the_short_last_batch_is_kept(threads):
    """Quirks 11 and 20: the old zoo dropped the last batch and mixed the order."""
    loader = Loader(Numbers(10), 4, threads)
    batches = list(loader.epoch())
    assert [batch.indices for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] and len(loader) == 3
    assert batches[0].feed["x"][:, 0].tolist() == [0, 1, 2, 3] and batches[2].feed["label"].tolist() == [1, 2]
    assert batches[2].ids == ["sample 8", "sample 9"]


def test_training_is_shuffled_anew_each_epoch_and_drops_the_short_batch():
    loader = Loader(Numbers(10), 4, training=True, seed=3)
    first, second = indices(loader, 0), indices(loader, 1)
    assert len(first) == len(loader) == 2 and first != second
    assert len(set(sum(first, []))) == 8


@pytest.mark.parametrize("threads", [1, 5])
def test_randomness_depends_on_seed_epoch_and_sample_only(threads):
    expected = [batch.feed["x"] for batch in Loader(Numbers(20), 4, 2, training=True, seed=5).epoch(7)]
    found = [batch.feed["x"] for batch in Loader(Numbers(20), 4, threads, training=True, seed=5).epoch(7)]
    np.testing.assert_array_equal(found, expected)


def test_an_epoch_can_start_in_the_middle():
    loader = Loader(Numbers(20), 4, training=True)
    assert indices(loader, 2, start=3) == indices(loader, 2)[3:]


def test_bad_samples_are_left_out_and_reported_outside_training():
    loader = Loader(Numbers(10, bad=[0, 1, 5, 8, 9]), 2, 3)
    assert indices(loader) == [[2, 3], [4], [6, 7]]  # batch [8, 9] has nothing left
    assert loader.bad == {i: f"sample {i} is bad" for i in (0, 1, 5, 8, 9)}


def test_bad_samples_are_replaced_by_the_next_ones_in_training():
    dataset = Numbers(10, bad=[2, 3])
    loader = Loader(dataset, 5, 3, training=True)
    order = loader.order(0).tolist()
    expected = []
    for position in range(10):
        while order[position % 10] in (2, 3):
            position += 1
        expected.append(order[position % 10])
    assert sum(indices(loader), []) == expected and set(loader.bad) == {2, 3}
    reads = dataset.reads
    list(loader.epoch(1))
    assert dataset.reads == reads + 10  # known bad ones are not tried again


def test_a_mostly_bad_training_epoch_stops_with_the_reasons():
    with pytest.raises(DataError, match="6 of 10 training samples cannot be read, more than half: sample . is bad"):
        indices(Loader(Numbers(10, bad=range(7)), 2, training=True))


@pytest.mark.parametrize("training", [False, True])
def test_a_stuck_reader_is_given_up_and_the_rest_goes_on(training):
    dataset = Numbers(8, stuck=[1, 2])
    loader = Loader(dataset, 4, threads=2, timeout=0.2, training=training)
    found = indices(loader)
    dataset.release.set()
    assert loader.bad == {1: "no answer within 0.2 s", 2: "no answer within 0.2 s"}
    assert found == [[0, 3], [4, 5, 6, 7]] if not training else not {1, 2} & set(sum(found, []))


def test_a_bug_in_a_reader_is_raised_not_swallowed():
    """Quirk 12: an exception in a worker thread hung the old zoo."""
    with pytest.raises(RuntimeError, match="a bug in a reader"):
        indices(Loader(Numbers(10, broken=[6]), 2, 3))


def test_read_ahead_is_bounded_in_bytes():
    """Quirk 32: the old zoo held 1024 decoded samples whatever their size."""
    dataset = Numbers(200, width=1 << 17)  # 1 MiB a sample
    batches = Loader(dataset, 1, threads=4, buffer_bytes=3 << 20).epoch()
    next(batches)
    time.sleep(0.3)
    assert dataset.reads <= 1 + 3 + 1
    batches.close()


def test_leaving_early_stops_the_threads():
    before = set(threading.enumerate())
    batches = Loader(Numbers(1000), 4, 4).epoch()
    next(batches)
    started = set(threading.enumerate()) - before
    batches.close()
    for thread in started:
        thread.join(timeout=10)
    assert len(started) == 4 and not any(thread.is_alive() for thread in started)


def test_a_batch_larger_than_the_training_list_is_an_error():
    with pytest.raises(DataError, match="batch_size '16' is larger than the 10 samples"):
        Loader(Numbers(10), 16, training=True)
