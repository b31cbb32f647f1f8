"""Process settings that must be in place before Paddle is imported. Importing this module applies them, once.

Every package that imports Paddle imports this module first. Whatever the environment already says is left alone.
Measured on two cores: a forward pass of ResNet-50 takes 1.9 s with one thread and MKL's default path, 0.63 s so. Keeping freed memory
takes a fifth off a training step of TSN and a quarter off its peak memory (docs/benchmarks.md).
"""

import contextlib
import ctypes
import os
import warnings
import zlib  # noqa: F401  before Paddle: 2.6 carries a zlib of its own, which Python's would bind to, and crash

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_DEFAULTS = {
    "OMP_NUM_THREADS": str(CORES),
    "MKL_DEBUG_CPU_TYPE": "5",  # Paddle's bundled MKL takes a slow path on AMD otherwise; no effect on Intel
    "KMP_BLOCKTIME": "0",  # threads without work sleep at once: spinning takes the cores from those that decode
    "GLOG_minloglevel": "2",  # Paddle's C++ notices; errors still show
}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of malloc.h


def _keep_freed_memory():
    """Tell glibc's malloc to reuse large blocks, all of them in one heap. Left to itself it hands each tensor's memory back to the
    system, which has to find, clear and map the pages again at the next step."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library: it has its own ways
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(M_ARENA_MAX, 1)


GIVEN = {name for name in _DEFAULTS if name in os.environ}  # what the user has set
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
if "MALLOC_ARENA_MAX" not in os.environ:
    _keep_freed_memory()
for _message in (
    "No ccache found",
    "Tensor do not have 'place' interface",
):  # Paddle's, and nothing that a user can act on
    warnings.filterwarnings("ignore", message=_message)
