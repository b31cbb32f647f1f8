#!/usr/bin/env bash
# Train with several processes on this machine: how many, then train.py's arguments. docs/distributed.md says how on several machines.
# For example: bash scripts/run_distributed.sh 2 --model_name=TSN --config=configs/tsn.yaml --pretrain=none
source "$(dirname "$0")/use_venv.sh"

if ! [[ "${1:-}" =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: bash scripts/run_distributed.sh <processes> <arguments of train.py>" >&2
    exit 2
fi
processes=$1
shift
# Paddle's launcher gives each process one thread where nothing is said; these share the cores instead.
cores=$(nproc)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}"
exec python -m paddle.distributed.launch --nproc_per_node "$processes" --log_dir "${LOG_DIR:-log}" train.py "$@"
