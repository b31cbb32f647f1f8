#!/usr/bin/env bash
# The same set-up as quickstart.sh, then the test suite. Arguments go to pytest.
source "$(dirname "$0")/environment.sh"
[ $# -eq 0 ] || exec $PYTHON -m pytest "$@"

# One process for each room, and for each file on the models: Paddle keeps the memory of full-size models it has built.
failed=0
for tests in tests/models/test_*.py $(ls -d tests/*/ | grep -v -e models -e golden -e support -e __pycache__); do
    echo "== $tests"
    $PYTHON -m pytest "$tests" || failed=1
done
exit $failed
