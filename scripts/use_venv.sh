# Sourced by the per-model scripts: goes to the project's folder and prefers its .venv, where there is one.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ ! -d .venv/bin ] || PATH="$PWD/.venv/bin:$PATH"
