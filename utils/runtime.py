"""Process settings that make Paddle fast on a CPU. Main programs `apply` them before Paddle is imported.

A library must not change its host's environment, memory allocator or warnings, so importing this module changes
nothing. Measured on two cores: a forward pass of ResNet-50 takes 1.9 s with one thread and MKL's default path, and
0.63 s with these settings. Keeping freed memory makes a training step of TSN a fifth shorter and its peak memory a
quarter smaller (docs/benchmarks.md).
"""

import contextlib
import ctypes
import os
import warnings
import zlib  # noqa: F401  before Paddle: 2.6 brings its own zlib, and Python's would use that one and crash

__all__ = ["apply", "cores", "set_by_user", "threads"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h
NOTICES = ("No ccache found", "Tensor do not have 'place' interface")  # Paddle's; a user cannot act on them


_applied = set()  # names of variables that `apply` has set


def set_by_user(name: str) -> bool:
    """Whether an environment variable was set before `apply`."""
    return name in os.environ and name not in _applied


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Number of threads of the outermost parallel loops, as OMP_NUM_THREADS says ("4,2" gives 4).

    Default: all cores.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else cores()


def apply() -> None:
    """Set what the environment does not: threads, MKL's code path, Paddle's notices, and the memory allocator."""
    defaults = {
        "OMP_NUM_THREADS": str(cores()),
        "MKL_DEBUG_CPU_TYPE": "5",  # Paddle's MKL takes a slow path on AMD otherwise; no effect on Intel
        "KMP_BLOCKTIME": "0",  # idle threads sleep at once, so that they leave the cores to the decoders
        "GLOG_minloglevel": "2",  # hides Paddle's C++ notices; errors still show
    }
    for name, value in defaults.items():
        if name not in os.environ:
            os.environ[name] = value
            _applied.add(name)
    if "MALLOC_ARENA_MAX" not in os.environ:
        _keep_freed_memory()
    for message in NOTICES:
        warnings.filterwarnings("ignore", message=message)


def _keep_freed_memory():
    """Tell glibc's malloc to reuse large blocks, and to keep all of them in one heap.

    By default it returns each tensor's memory to the system, which must then map and clear the pages again in the next
    step.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(M_ARENA_MAX, 1)
