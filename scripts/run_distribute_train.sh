#!/usr/bin/env bash
# The arguments of MindSpore's StNet: bash run_distribute_train.sh RUN_DISTRIBUTE DATASET_PATH RANK_TABLE [CHECKPOINT]
# 1 trains on all visible GPUs, 0 on one, in the background. The rank table is for Ascend and is not read.
# The log is train_parallel0/log.txt; that of the other processes is in train_parallel0/log. More arguments go to train.py.
set -euo pipefail

usage="usage: bash run_distribute_train.sh 0|1 DATASET_PATH RANK_TABLE [CHECKPOINT]"
distributed=${1:?"$usage"}
data=${2?"$usage"}
: "${3?"$usage; the rank table is not read: give ''"}"
resume=${4:-}
[ -z "$data" ] || [ -d "$data" ] || { echo "DATASET_PATH '$data' is not a folder; $usage" >&2; exit 2; }
[ -z "$data" ] || data=$(realpath -- "$data")
[ -z "$resume" ] || [ ! -d "$(dirname -- "$resume")" ] || resume=$(realpath -m -- "$resume") # best_acc.ckpt need not exist
source "$(dirname "$0")/use_venv.sh"
mkdir -p train_parallel0
in_background train_parallel0/log.txt python train.py --model_name=STNET --run_distribute="$distributed" --dataset_path="$data" \
    --resume="$resume" --save_dir=train_parallel0 "${@:5}"
