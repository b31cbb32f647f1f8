"""Starts one process for each device without a launcher: `python train.py` on a machine with eight GPUs.

The processes get the environment that Paddle's launcher would give them. Process 0 prints to this screen, progress bars
included; the output of the others goes to `workerlog.N`. Signals are passed on, the processes' exit status is returned,
and no process is left running.
"""

import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import paddle

from engine.distributed.lifeline import PARENT
from engine.graph import compat
from storage import addresses
from utils import runtime
from utils.errors import ConfigError

log = logging.getLogger("zoo")

LAUNCHED = "PADDLE_TRAINERS_NUM"  # in the environment of a process that a launcher started
LAST_WORDS_SECONDS = 40  # between a process's failure and the end of those that do not follow it
POLL_SECONDS = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Devices(NamedTuple):
    """What a training runs on: `count` processes; of GPUs, which of the visible ones."""

    count: int
    gpus: tuple = ()


def wanted(text: str | None, use_gpu: bool) -> Devices:
    """`Devices` that --devices asks for ('cpu:2', '4', '0,1,3', 'all'); None: every visible GPU, else one CPU process.

    Raises ConfigError.
    """
    cpu = re.fullmatch(r"cpu:([1-9][0-9]{0,2})", text or "")
    if cpu:
        return Devices(int(cpu[1]))
    visible = compat.gpu_count() if use_gpu else 0
    if text in (None, "all"):
        return Devices(visible, tuple(range(visible))) if visible else Devices(1)
    if not re.fullmatch(r"[0-9]{1,3}(,[0-9]{1,3})*", text) or text == "0":
        raise ConfigError(f"--devices '{text}': expected a number of GPUs, their numbers such as 0,1,3, or cpu:2")
    gpus = tuple(map(int, text.split(","))) if "," in text else tuple(range(int(text)))
    if visible == 0 and len(gpus) == 1:
        return Devices(1)
    if len(set(gpus)) < len(gpus) or max(gpus) >= visible:
        advice = "some of these, each once" if visible else "cpu:N for N processes on the CPU"
        raise ConfigError(f"--devices '{text}': {visible} GPUs can be used here, numbered from 0; give {advice}")
    return Devices(len(gpus), gpus)


def chosen(text: str | None, use_gpu: bool) -> Devices:
    """`wanted`, but one process where a launcher has started this one, and where this Paddle cannot do with several."""
    if LAUNCHED in os.environ:
        return Devices(1)
    devices = wanted(text, use_gpu)
    if devices.count == 1 or compat.several_processes():
        return devices
    if text is None:
        log.warning(
            "%d GPUs are visible and one is used: several need Paddle 3 or later, this is %s",
            devices.count,
            paddle.__version__,
        )
        return Devices(1)
    raise ConfigError(f"--devices '{text}': several processes need Paddle 3 or later, this is {paddle.__version__}")


def select(device_id: int | None, use_gpu: bool) -> None:
    """Use the visible GPU `device_id`; with None Paddle chooses. Raises ConfigError if there is no such GPU."""
    if device_id is None or LAUNCHED in os.environ:
        return
    if not use_gpu:
        log.info("--device_id '%d' has no effect: running on the CPU", device_id)
    elif device_id >= compat.gpu_count():
        raise ConfigError(f"--device_id '{device_id}': {compat.gpu_count()} GPUs can be used here, numbered from 0")
    else:
        os.environ["FLAGS_selected_gpus"] = str(device_id)


def run(devices: Devices, log_dir: str | Path) -> int:
    """Start this program with the same arguments, one process for each device.

    Returns the exit status: 0 if all processes succeeded, else the status of the first that failed. The output of all
    processes but the first goes to `log_dir`, or to a temporary folder if that is an address.
    """
    folder = Path(tempfile.mkdtemp(prefix="zoo-log-") if addresses.is_remote(log_dir) else log_dir)
    folder.mkdir(parents=True, exist_ok=True)
    where = "one for each GPU" if devices.gpus else "all on the CPU"
    log.info("starting %d processes, %s; --devices=1 keeps one", devices.count, where)
    log.info("process 0 prints here, process N to '%s'", folder / "workerlog.N")
    endpoints = _endpoints(devices.count + 1)
    with contextlib.ExitStack() as stack:
        processes = []
        with _passed_on(processes):
            for rank in range(devices.count):
                output = None
                if rank:
                    output = stack.enter_context(open(folder / f"workerlog.{rank}", "wb"))
                processes.append(
                    subprocess.Popen(
                        [sys.executable, *sys.orig_argv[1:]],
                        env=_environment(rank, devices, endpoints),
                        stdout=output,
                        stderr=output,
                        start_new_session=True,  # Ctrl-C reaches them through this process alone, once
                    )
                )
            return _ended(processes)


def _endpoints(count):
    """`count` addresses on this machine whose ports are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def _environment(rank, devices, endpoints):
    """The environment of process `rank`. Processes meet at the last endpoint; each of the others is one process's."""
    *theirs, master = endpoints
    found = {
        **os.environ,
        LAUNCHED: str(devices.count),
        PARENT: str(os.getpid()),
        "PADDLE_TRAINER_ID": str(rank),
        "PADDLE_LOCAL_RANK": str(rank),
        "PADDLE_MASTER": master,
        "PADDLE_TRAINER_ENDPOINTS": ",".join(theirs),
        "PADDLE_CURRENT_ENDPOINT": theirs[rank],
    }
    if devices.gpus:
        found["FLAGS_selected_gpus"] = str(devices.gpus[rank])
    if not runtime.set_by_user("OMP_NUM_THREADS"):
        found["OMP_NUM_THREADS"] = str(max(1, runtime.cores() // devices.count))
    return found


@contextlib.contextmanager
def _passed_on(processes):
    """Pass signals on to `processes`, which grows; end what is left of them when the block ends."""

    def forward(number, frame):
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in SIGNALS}
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(processes):
    """Wait for all; those that do not follow one that failed are killed. The exit status, 128 + N for the signal N."""
    deadline = None
    while any(process.poll() is None for process in processes):
        if deadline is None and any(process.returncode for process in processes):
            deadline = time.monotonic() + LAST_WORDS_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    for number, process in enumerate(processes):
        if process.poll() is None:
            log.error("process %d did not end with the others; it is killed", number)
            process.kill()
    statuses = [process.wait() for process in processes]
    return next((128 - status if status < 0 else status for status in statuses if status), 0)
