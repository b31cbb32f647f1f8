#!/usr/bin/env bash
# Extra arguments are passed on and win, for example: bash scripts/test/test_attention_cluster.sh --weights=my/weights.pdparams
source "$(dirname "$0")/../use_venv.sh" && python test.py --model_name=AttentionCluster --config=configs/attention_cluster.yaml --log_interval=10 --weights=checkpoints/AttentionCluster_best "$@"
