"""Differences between Paddle 2.6 (old IR) and 3.x (PIR). No other module checks Paddle's version."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paddle
from paddle.base import framework

from utils.errors import ConfigError

PIR = int(paddle.__version__.split(".")[0]) >= 3
ISA_LIMIT = "ONEDNN_MAX_CPU_ISA"  # environment variable of oneDNN; its older name is DNNL_MAX_CPU_ISA
ISA_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2")


def _restore_signals():
    """Give SIGTERM back to the handler that Python knows: Paddle replaced it when it was imported, to print a dump."""
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler) and threading.current_thread() is threading.main_thread():
        paddle.disable_signal_handler()
        signal.signal(signal.SIGTERM, handler)


_restore_signals()
_process = threading.RLock()  # Paddle's current program, names, scope and flags belong to the process, not to a thread


@contextlib.contextmanager
def static_mode() -> Iterator[None]:
    """Paddle's static mode inside the block, for one thread at a time; afterwards the mode is as before.

    `paddle.disable_static` would not do: it restarts the names of the layers, so that a caller's new layers would be
    named like its old ones. And in another thread than the main one, `paddle.enable_static` has no effect.
    """
    with _process, framework._dygraph_guard(None):
        yield


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave Paddle's random generators as they were found. (In 2.6, `paddle.set_rng_state(state, "cpu")` fails.)"""
    generator = framework.core.default_cpu_generator()
    cpu = generator.get_state()
    gpu = paddle.get_cuda_rng_state() if gpu_available() else None
    try:
        yield
    finally:
        generator.set_state(cpu)
        if gpu:
            paddle.set_cuda_rng_state(gpu)


@contextlib.contextmanager
def flags(values: dict[str, Any]) -> Iterator[None]:
    """Set Paddle's flags {name: value} inside the block. Enter `static_mode` first: flags belong to the process."""
    before = paddle.get_flags(list(values)) if values else {}
    if values:
        paddle.set_flags(values)
    try:
        yield
    finally:
        if before:
            paddle.set_flags(before)


def release(scope: Any) -> None:
    """Free a scope and the values in it, after which nothing may use it.

    Paddle keeps every scope in a pool until the process ends: a process that loads one model after another would grow
    by the weights of each.
    """
    scope._remove_from_pool()


def parameters(program: Any) -> dict[str, tuple[tuple[int, ...], bool]]:
    """{name: (shape, trainable)} of a program's parameters, running statistics included, sorted by name.

    PIR lists a parameter once per use, in an order of its own, and knows no Program.all_parameters; the old IR does.
    """
    found = {
        p.name: (tuple(int(n) for n in p.shape), bool(p.trainable)) for p in program.global_block().all_parameters()
    }
    return dict(sorted(found.items()))


def products(program: Any, convolutions: tuple[str, ...], matrices: tuple[str, ...]) -> Iterator[tuple[str, Any, Any]]:
    """(type, shape of the weight or second factor, shape of the result) of each operator with a type in the two tuples.

    PIR numbers an operator's inputs and outputs, the old IR names them.
    """
    block = program.global_block()
    for op in block.ops:
        pir = hasattr(op, "operands_source")
        kind = op.name().removeprefix("pd_op.") if pir else op.type
        if kind not in convolutions + matrices:
            continue
        if pir:
            factor, result = op.operands_source()[1], op.result(0)
        else:
            second, out = ("Filter", "Output") if kind in convolutions else ("Y", "Out")
            factor, result = block.var(op.input(second)[0]), block.var(op.output(out)[0])
        yield kind, factor.shape, result.shape


def gpu_count() -> int:
    """How many CUDA devices the installed Paddle can use: those of this machine that CUDA_VISIBLE_DEVICES leaves."""
    return paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0


def gpu_available() -> bool:
    """Whether the installed Paddle can use a CUDA device of this machine."""
    return gpu_count() > 0


def place(use_gpu: bool) -> Any:
    """Where this process computes; the launcher gives each of its processes a device of its own."""
    return paddle.CUDAPlace(int(os.environ.get("FLAGS_selected_gpus", "0"))) if use_gpu else paddle.CPUPlace()


def check_amp(amp: str | None, use_gpu: bool) -> None:
    """Raise ConfigError if this Paddle cannot train on the device with `amp` ("bf16", "fp16" or None)."""
    if amp is None or use_gpu and PIR:
        return
    if not PIR:
        raise ConfigError(f"--amp '{amp}' needs Paddle 3 or later, this is {paddle.__version__}; leave it out")
    if amp == "fp16":
        raise ConfigError(
            "--amp 'fp16' needs a GPU: Paddle has no such convolutions for the CPU; leave it out, or try --amp bf16"
        )
    if not bfloat16_available():
        raise ConfigError(
            f"--amp '{amp}' on a CPU needs one with AVX-512, and {ISA_LIMIT} must not forbid it; leave --amp out"
        )


def several_processes() -> bool:
    """Whether Paddle has the collectives, in programs and outside, that engine/distributed/group.py needs (3.0 on)."""
    return PIR and paddle.distributed.is_available()


def bfloat16_available() -> bool:
    """Whether this CPU can compute in bfloat16: with AVX-512 it does, unless the environment keeps oneDNN below that.

    Paddle does not look at the limit, and fails with "std::exception" in the first 16-bit operator.
    """
    limit = os.environ.get(ISA_LIMIT, os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    return paddle.base.core.supports_bfloat16() and limit not in ISA_WITHOUT_BFLOAT16


def vnni_available() -> bool:
    """Whether this CPU multiplies 8-bit numbers with sums of 32 bits (VNNI); False where the system does not tell."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags


def onednn_allowed() -> bool:
    """Whether the environment lets inference on a CPU use oneDNN."""
    return os.environ.get("FLAGS_use_mkldnn", "1") != "0"
