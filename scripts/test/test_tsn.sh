#!/usr/bin/env bash
# Extra arguments are passed on and win, for example: bash scripts/test/test_tsn.sh --weights=my/weights.pdparams
source "$(dirname "$0")/../use_venv.sh" && python test.py --model_name=TSN --config=configs/tsn.yaml --log_interval=10 --weights=checkpoints/TSN_best "$@"
