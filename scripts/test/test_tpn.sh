#!/usr/bin/env bash
# Extra arguments are passed on and win, for example: bash scripts/test/test_tpn.sh --weights=my/weights.pdparams
source "$(dirname "$0")/../use_venv.sh" && python test.py --model_name=TPN --config=configs/tpn.yaml --log_interval=10 --weights=checkpoints/TPN_best "$@"
