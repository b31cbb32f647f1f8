"""Where the time of a training step goes."""

import datetime
import time

SLOW_DATA = 0.30  # share of the step time from which data is called the bottleneck


class Meter:
    """Splits each step into waiting for data and computing; `str(meter)` is the speed part of a log line."""

    def __init__(self, total_steps, done_steps):
        self.remaining = total_steps - done_steps
        self.steps, self.samples, self.data_seconds, self.compute_seconds, self.first_seconds = 0, 0, 0.0, 0.0, 0.0

    def wait_for(self, iterator):
        """The next item, or None at the end."""
        started = time.perf_counter()
        item = next(iterator, None)
        # The first wait fills the pipeline and says nothing about the steady state (nor does the first step, which compiles).
        if self.steps > 0 and item is not None:
            self.data_seconds += time.perf_counter() - started
        return item

    def compute(self, step, samples):
        """Run `step()` and account its time."""
        started = time.perf_counter()
        result = step()
        seconds = time.perf_counter() - started
        if self.steps > 0:
            self.compute_seconds += seconds
            self.samples += samples
        else:
            self.first_seconds = seconds
        self.steps += 1
        self.remaining -= 1
        return result

    @property
    def seconds(self):
        return self.data_seconds + self.compute_seconds

    @property
    def seconds_per_step(self):
        """Mean over the steps after the first; of the first where there is no other."""
        return self.seconds / (self.steps - 1) if self.steps > 1 else self.first_seconds

    @property
    def samples_per_second(self):
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def data_share(self):
        return self.data_seconds / self.seconds if self.seconds else 0.0

    def __str__(self):
        if not self.seconds:
            return "first step"
        left = datetime.timedelta(seconds=round(self.remaining * self.seconds_per_step))
        return f"{self.samples_per_second:.1f} samples/s, data {self.data_share:.0%}, ETA {left}"

    def verdict(self):
        """One sentence when data is the bottleneck, and what to do."""
        if self.data_share > SLOW_DATA:
            yield (
                f"data loading takes {self.data_share:.0%} of each step: raise TRAIN.num_reader_threads towards the number of cores, "
                "or, for clips, re-encode them with shorter groups of pictures or a smaller short side"
            )
