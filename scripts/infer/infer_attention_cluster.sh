#!/usr/bin/env bash
# Extra arguments are passed on and win, for example: bash scripts/infer/infer_attention_cluster.sh --filelist=my.list
source "$(dirname "$0")/../use_venv.sh" && python infer.py --model_name=AttentionCluster --config=configs/attention_cluster.yaml --log_interval=1 --weights=checkpoints/AttentionCluster_best --save_dir=save "$@"
