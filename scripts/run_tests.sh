#!/usr/bin/env bash
# The same set-up as quickstart.sh, then the test suite in two processes of one thread each. Arguments go to pytest.
source "$(dirname "$0")/environment.sh"
export MALLOC_ARENA_MAX=2           # memory of large models goes back to the system, instead of being kept for the next step
[ $# -eq 0 ] || exec $PYTHON -m pytest "$@"
OMP_NUM_THREADS=1 exec $PYTHON -m pytest --numprocesses=2 --dist=loadgroup
