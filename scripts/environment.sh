# Sourced by the other scripts: goes to the project's folder, makes .venv if absent, installs what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON_BASE="${PYTHON_BASE:-python3.11}"
command -v "$PYTHON_BASE" >/dev/null || PYTHON_BASE=python3
PADDLE="${PADDLE:-paddlepaddle==3.3.1}"

if [ ! -x .venv/bin/python ]; then
    echo "making .venv with $PYTHON_BASE"
    "$PYTHON_BASE" -m venv .venv
fi
# Installed again only when what is asked for has changed.
stamp=.venv/installed_for
wanted="$(cat setup.py) $PADDLE"
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    echo "installing into .venv (a few minutes the first time)"
    .venv/bin/python -m pip install --quiet --upgrade pip
    .venv/bin/python -m pip install --quiet "$PADDLE" -e ".[cpu,dev]"
    printf '%s' "$wanted" > "$stamp"
fi
PYTHON=.venv/bin/python
