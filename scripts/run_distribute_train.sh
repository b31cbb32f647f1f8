#!/usr/bin/env bash
# The arguments of MindSpore's StNet: bash run_distribute_train.sh RUN_DISTRIBUTE DATASET_PATH RANK_TABLE [CHECKPOINT]
# 1 trains on all visible GPUs, 0 on one. The rank table is for Ascend and is not read. The log goes to train_parallel0/log, too.
set -euo pipefail

usage="usage: bash run_distribute_train.sh 0|1 DATASET_PATH RANK_TABLE [CHECKPOINT]"
distributed=${1:?"$usage"}
data=${2?"$usage"}
: "${3?"$usage; the rank table is not read: give ''"}"
resume=${4:-}
[ -z "$data" ] || data=$(realpath -m -- "$data")
[ ! -e "$resume" ] || resume=$(realpath -- "$resume")
source "$(dirname "$0")/use_venv.sh"
mkdir -p train_parallel0
python train.py --model_name=STNET --run_distribute="$distributed" --dataset_path="$data" --resume="$resume" \
    --save_dir=train_parallel0 "${@:5}" 2>&1 | tee train_parallel0/log.txt
