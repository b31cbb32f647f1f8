#!/usr/bin/env bash
# The arguments of MindSpore's StNet: bash run_eval.sh DEVICE_ID DATASET_PATH CHECKPOINT
# Runs in the background; the log is eval.log (grep "accuracy:" eval.log). More arguments go to eval.py.
set -euo pipefail

usage="usage: bash run_eval.sh DEVICE_ID DATASET_PATH CHECKPOINT"
device=${1:?"$usage"}
data=${2?"$usage"}
weights=${3?"$usage"}
[ -z "$data" ] || [ -d "$data" ] || { echo "DATASET_PATH '$data' is not a folder; $usage" >&2; exit 2; }
[ -z "$data" ] || data=$(realpath -- "$data")
[ -z "$weights" ] || [ ! -d "$(dirname -- "$weights")" ] || weights=$(realpath -m -- "$weights") # best_acc.ckpt need not exist
source "$(dirname "$0")/use_venv.sh"
case "$device" in # a later edition gives the kind of device
    CPU) where=(--use_gpu=False) ;;
    GPU | Ascend) where=() ;;
    *) where=(--device_id="$device") ;;
esac
in_background eval.log python eval.py "${where[@]}" --dataset_path="$data" --run_distribute=0 --resume="$weights" "${@:4}"
