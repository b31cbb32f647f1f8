#!/usr/bin/env bash
# The arguments of MindSpore's StNet: bash run_eval.sh DEVICE_ID DATASET_PATH CHECKPOINT. The log goes to eval.log, too.
set -euo pipefail

usage="usage: bash run_eval.sh DEVICE_ID DATASET_PATH CHECKPOINT"
device=${1:?"$usage"}
data=${2?"$usage"}
weights=${3?"$usage"}
[ -z "$data" ] || data=$(realpath -m -- "$data")
[ ! -e "$weights" ] || weights=$(realpath -- "$weights")
source "$(dirname "$0")/use_venv.sh"
case "$device" in # a later edition gives the kind of device
    CPU) where=(--use_gpu=False) ;;
    GPU | Ascend) where=() ;;
    *) where=(--device_id="$device") ;;
esac
python eval.py "${where[@]}" --dataset_path="$data" --run_distribute=0 --resume="$weights" "${@:4}" 2>&1 | tee eval.log
