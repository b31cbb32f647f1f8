"""Joining the processes that a launcher started (Paddle's, or engine/distributed/spawn.py).

Each process learns its rank, notices when another one dies, and prints one sentence when it ends with an error.
"""

import contextlib
import faulthandler
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import paddle

from engine.distributed.group import Group
from engine.distributed.lifeline import Lifeline, die_with_parent
from engine.graph import compat
from engine.stop import Interrupted
from utils.errors import ConfigError, ZooError

log = logging.getLogger("zoo")

BLAME_SECONDS = 2
RENDEZVOUS_SECONDS = 180  # how long processes wait for one another at the start


def divisible(train: Any, world: int) -> None:
    """ConfigError unless TRAIN.batch_size splits into equal parts, `accumulate_steps` for each process."""
    size, parts = train.batch_size, world * train.accumulate_steps
    if size % parts == 0:
        return
    below, above = size // parts * parts, -(-size // parts) * parts
    kinds = [
        f"{count} {word}"
        for count, word in ((world, "processes"), (train.accumulate_steps, "accumulate_steps"))
        if count > 1
    ]
    nearest = " and ".join(str(near) for near in (below, above) if near)
    raise ConfigError(
        f"TRAIN.batch_size '{size}' is the number of samples of an update over all processes. It must be divisible by "
        f"{' times '.join(kinds)}, which makes {parts} parts of equal size; the nearest sizes are {nearest}"
    )


@contextlib.contextmanager
def joined(use_gpu: bool = False) -> Iterator[Group]:
    """Connect to the other processes; yields their Group (without a launcher, a group of one process).

    An error inside the block ends all processes, each with one sentence. Raises ConfigError.
    """
    world, rank = int(os.environ.get("PADDLE_TRAINERS_NUM", "1")), int(os.environ.get("PADDLE_TRAINER_ID", "0"))
    if world == 1:
        yield Group()
        return
    if not compat.several_processes():
        raise ConfigError(
            f"'{world}' processes: training by several processes needs Paddle 3 or later, this is {paddle.__version__}"
        )
    die_with_parent()
    line = Lifeline(rank, world, os.environ["PADDLE_TRAINER_ENDPOINTS"].split(","), RENDEZVOUS_SECONDS)
    if rank > 0:
        log.setLevel(logging.ERROR)
    last = f"process {rank} of {world} ended before the others"
    try:
        group = _meet(rank, world, use_gpu)
        log.info("%d processes, each with its part of every batch", world)
        yield group
        last = None
    except Interrupted:
        last = None
        raise
    except ZooError as error:
        last = f"process {rank} of {world}: {type(error).__name__}: {error}"
        raise
    except Exception as error:
        # If the exchange failed because another process died, the lifeline says so and ends this process meanwhile.
        time.sleep(BLAME_SECONDS)
        last = (
            f"process {rank} of {world}: {type(error).__name__}: {error}; see workerlog.N in the launcher's log folder"
        )
        raise
    finally:
        line.leave(*([last.encode()] if last else []))


def _meet(rank, world, use_gpu):
    os.environ["PADDLE_DISTRI_BACKEND"] = "nccl" if use_gpu else "gloo"
    # init_parallel_env holds the interpreter's lock and may wait 15 minutes or for ever: this ends the process then.
    faulthandler.dump_traceback_later(RENDEZVOUS_SECONDS, exit=True)
    paddle.disable_static()
    paddle.distributed.init_parallel_env()
    paddle.enable_static()
    faulthandler.cancel_dump_traceback_later()
    return Group(rank, world, compat.place(use_gpu))
