#!/usr/bin/env bash
# Extra arguments are passed on and win, for example: bash scripts/test/test_stnet.sh --weights=my/weights.pdparams
source "$(dirname "$0")/../use_venv.sh" && python test.py --model_name=STNET --config=configs/stnet.yaml --log_interval=10 --weights=checkpoints/STNET_best "$@"
