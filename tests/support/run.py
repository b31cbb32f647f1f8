"""`python tests/support/run.py train.py <words>`: a driver as a process of its own, which knows TINYNET too."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

if __name__ == "__main__":
    from utils import runtime

    runtime.apply()  # before Paddle is imported
    from support import tinynet

    tinynet.register()
    sys.argv = [str(ROOT / sys.argv[1]), *sys.argv[2:]]
    runpy.run_path(sys.argv[0], run_name="__main__")
