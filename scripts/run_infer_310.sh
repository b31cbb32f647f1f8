#!/usr/bin/env bash
# The arguments of MindSpore's StNet: bash run_infer_310.sh MODEL DATA_PATH y|n [DEVICE_ID]
# MODEL is what export.py wrote, or a checkpoint, which is exported first.
# DATA_PATH is a list, or a folder with val_pkl or val_mp4; '' is the model's own TEST list.
# Clips are decoded as they are read, so whether to preprocess has no effect. The last line goes to acc.log, too.
set -euo pipefail

usage="usage: bash run_infer_310.sh MODEL DATA_PATH y|n [DEVICE_ID]"
model=$(realpath -m -- "${1:?"$usage"}")
data=${2?"$usage"}
[ -z "$data" ] || data=$(realpath -m -- "$data")
: "${3:?"$usage"}"
source "$(dirname "$0")/use_venv.sh"
export FLAGS_selected_gpus="${4:-0}"
python scripts/infer_310.py "$model" "$data" "${@:5}"
