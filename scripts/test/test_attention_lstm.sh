#!/usr/bin/env bash
# Extra arguments are passed on and win, for example: bash scripts/test/test_attention_lstm.sh --weights=my/weights.pdparams
source "$(dirname "$0")/../use_venv.sh" && python test.py --model_name=AttentionLSTM --config=configs/attention_lstm.yaml --log_interval=10 --weights=checkpoints/AttentionLSTM_best "$@"
