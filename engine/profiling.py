"""`train.py --is_profiler 1`: where the time of a training step goes, as a trace for chrome://tracing or Perfetto."""

import itertools
import logging
from pathlib import Path
from typing import Any

import paddle

log = logging.getLogger("zoo")

WARM_UP, STEPS = 2, 5  # the first steps build and tune; they would drown the rest


def profile(trainer: Any, folder: str | Path) -> None:
    """Run a few training steps of a started Trainer and write their trace into `folder`. Nothing is saved."""
    written = paddle.profiler.export_chrome_tracing(str(folder)) if trainer.group.is_main else _nothing
    profiler = paddle.profiler.Profiler(scheduler=(WARM_UP, WARM_UP + STEPS), on_trace_ready=written)
    batches = itertools.chain.from_iterable(trainer.loader.epoch(number) for number in itertools.count())
    with profiler:
        for batch in itertools.islice(batches, WARM_UP + STEPS):
            rate = trainer.model.rate(trainer.step, len(trainer.loader))
            trainer.stepper(batch.feed, rate, (trainer.seed, trainer.step))
            profiler.step()
    log.info("profiled %d steps; the trace is in '%s'", STEPS, folder)


def _nothing(profiler):
    """Of several processes, the first one's trace is enough."""
