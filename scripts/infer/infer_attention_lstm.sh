#!/usr/bin/env bash
# Extra arguments are passed on and win, for example: bash scripts/infer/infer_attention_lstm.sh --filelist=my.list
source "$(dirname "$0")/../use_venv.sh" && python infer.py --model_name=AttentionLSTM --config=configs/attention_lstm.yaml --log_interval=1 --weights=checkpoints/AttentionLSTM_best --save_dir=save "$@"
