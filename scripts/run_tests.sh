#!/usr/bin/env bash
# The same set-up as quickstart.sh, then the test suite. Arguments go to pytest.
source "$(dirname "$0")/environment.sh"
[ $# -eq 0 ] || exec $PYTHON -m pytest "$@"

# Two processes at a time, with one thread each. A line below is what one process runs: importing Paddle costs each 2 s, and
# what takes longest has to start first.
export PYTHON OMP_NUM_THREADS=1
one() {
    output=$(timeout 20m $PYTHON -m pytest $1 2>&1)
    status=$?
    printf '== %s (%d s)\n%s\n' "$1" $SECONDS "$output"
    return $status
}
export -f one
{
    ls tests/drivers/test_documents.py
    ls tests/engine/test_*.py | grep -v test_exported | xargs -n 9
    ls tests/engine/test_exported.py tests/drivers/test_readme.py
    ls tests/distributed/test_training.py tests/distributed/test_spawn.py tests/drivers/test_*.py
    echo tests/serving
    echo $(ls tests/models/test_*.py | grep tpn)
    echo $(ls tests/models/test_*.py | grep -v tpn)
    echo tests/datareader tests/dataset
    echo tests/storage tests/reports tests/utils tests/metrics tests/docs tests/test_layout.py
    echo $(ls tests/distributed/test_*.py | grep -v -e test_training -e test_spawn)
    ls tests/paddle_video_zoo/test_*.py
} | awk '!seen[$0]++' | tr '\n' '\0' | xargs -0 -n 1 -P 2 bash -c 'one "$1"' -
