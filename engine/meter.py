"""The state of an epoch: scores so far, and the time spent on data and on computing."""

import datetime
import logging
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from datareader.loader import Batch
from engine.distributed.group import Group
from engine.evaluator import gathered

__all__ = ["Meter", "StepTimes"]

log = logging.getLogger("zoo")

SETTLED = 10  # steps of an epoch after which the speed is known
SLOW_DATA = 0.30  # share of the step time from which data is called the bottleneck


class StepTimes:
    """Splits the time of an epoch's steps into waiting for data and computing; `str` gives the speed part of a log
    line.

    The first wait fills the pipeline and the first step compiles, so neither counts in the means.
    """

    FIELDS = ("steps", "samples", "data_seconds", "compute_seconds", "first_seconds")

    def __init__(self):
        self.steps, self.samples = 0, 0
        self.data_seconds = self.compute_seconds = self.first_seconds = 0.0

    def add(self, waited: float, computed: float, samples: int) -> None:
        """Count one step: seconds waited for its batch, seconds computed, samples in the batch."""
        if self.steps > 0:
            self.data_seconds += waited
            self.compute_seconds += computed
            self.samples += samples
        else:
            self.first_seconds = computed
        self.steps += 1

    @property
    def seconds(self) -> float:
        """Seconds of all counted steps."""
        return self.data_seconds + self.compute_seconds

    @property
    def seconds_per_step(self) -> float:
        """Mean over the steps after the first; the first step's time if there is no other."""
        return self.seconds / (self.steps - 1) if self.steps > 1 else self.first_seconds

    @property
    def samples_per_second(self) -> float:
        """Samples trained per second, waiting included."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def data_share(self) -> float:
        """Share of the time spent waiting for data, 0 to 1."""
        return self.data_seconds / self.seconds if self.seconds else 0.0

    def line(self, remaining: int) -> str:
        """The speed part of a log line; `remaining`: steps left in the training."""
        if not self.seconds:
            return "first step"
        left = datetime.timedelta(seconds=round(remaining * self.seconds_per_step))
        return f"{self.samples_per_second:.1f} samples/s, data {self.data_share:.0%}, ETA {left}"

    def advice(self) -> str | None:
        """A sentence on what to do when data is the bottleneck."""
        if self.data_share <= SLOW_DATA:
            return None
        return (
            f"data loading takes {self.data_share:.0%} of each step: raise TRAIN.num_reader_threads towards the number "
            "of cores or, for clips, re-encode them with shorter groups of pictures or a smaller short side"
        )


class Meter:
    """Scores and times of the current training epoch. Its `state` travels in checkpoints made in the middle of an
    epoch.

    new_metric: makes an empty metric (metrics/)
    batch_size: samples of an update, over all processes
    total_steps: steps of the whole training
    interval: log every so many steps; 0 for never
    Every process of `group` must call `log` and `result` at the same steps.
    """

    def __init__(self, new_metric: Callable, group: Group, batch_size: int, total_steps: int, interval: int = 10):
        self.new_metric, self.group = new_metric, group
        self.batch_size, self.total_steps, self.interval = batch_size, total_steps, interval
        self.announced = False
        self.reset()

    def reset(self) -> None:
        """Start an epoch."""
        self.epoch_metric, self.recent_metric = self.new_metric(), self.new_metric()
        self.times = StepTimes()
        self.rate = 0.0

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, with the wait for each one measured. `update` ends the time of a step."""
        iterator = iter(batches)
        while True:
            self.asked = time.perf_counter()
            batch = next(iterator, None)
            self.received = time.perf_counter()
            if batch is None:
                return
            yield batch

    def update(self, loss: float, probabilities: np.ndarray, batch: Batch, rate: float) -> None:
        """Add a step: its loss, its scores [B, classes], the batch with its labels, and the learning rate."""
        self.times.add(self.received - self.asked, time.perf_counter() - self.received, self.batch_size)
        self.rate = rate
        for metric in (self.epoch_metric, self.recent_metric):
            metric.update(probabilities, batch.feed["label"], loss, batch.number)

    def log(self, epoch: int, batch: int, steps_done: int) -> dict | None:
        """Log the scores since the last line, if a line is due at this batch; returns its values, or None."""
        self._announce_end(self.total_steps - steps_done)
        if self.interval <= 0 or batch % self.interval:
            return None
        scores = gathered(self.group, self.recent_metric)
        speed = self.times.line(self.total_steps - steps_done)
        line = self.recent_metric.line(scores)
        log.info("[TRAIN] Epoch %d, iter %d %s\tlr: %g, %s", epoch, batch, line, self.rate, speed)
        self.recent_metric.reset()
        times = {"samples_per_second": self.times.samples_per_second, "data_share": self.times.data_share}
        place = {"epoch": epoch, "batch": batch, "step": steps_done - 1}
        return {**place, "learning_rate": self.rate, **scores, **times}

    def _announce_end(self, remaining):
        """Log once, after ten steps, when the training is expected to end."""
        if self.announced or self.times.steps < SETTLED:
            return
        self.announced = True
        seconds = round(remaining * self.times.seconds_per_step)
        end = datetime.datetime.now() + datetime.timedelta(seconds=seconds)
        log.info(
            "%s left without validations, until %s", datetime.timedelta(seconds=seconds), end.strftime("%Y-%m-%d %H:%M")
        )

    def result(self, epoch: int) -> dict:
        """Close the epoch: log its line, and return its row of the history."""
        scores = gathered(self.group, self.epoch_metric)
        seconds = self.times.seconds_per_step
        log.info(
            "[TRAIN] Epoch %d training finished, average time: %.4f%s", epoch, seconds, self.epoch_metric.line(scores)
        )
        if advice := self.times.advice():
            log.info("%s", advice)
        return {
            "epoch": epoch,
            **scores,
            "learning_rate": self.rate,
            "data_share": self.times.data_share,
            "samples_per_second": self.times.samples_per_second,
            "seconds_per_step": seconds,
            "seconds": self.times.seconds + self.times.first_seconds,
        }

    def state(self) -> dict[str, np.ndarray]:
        """The epoch so far in all processes, as {name: array}; in process 0. Every process must call this."""
        states = self.group.gather(self.epoch_metric.state())
        whole = self.new_metric()
        if states:
            whole.merge(states)
        times = {name: np.array(getattr(self.times, name)) for name in StepTimes.FIELDS}
        return {
            **{f"metric.{name}": value for name, value in whole.state().items()},
            **{f"times.{name}": value for name, value in times.items()},
            "times.rate": np.array(self.rate),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from `state`; in process 0 only, the others start empty and are added at the end."""
        self.epoch_metric.merge([_part(state, "metric.")])
        times = _part(state, "times.")
        self.rate = times.pop("rate").item()
        for name, value in times.items():
            setattr(self.times, name, value.item())


def _part(state, prefix):
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
