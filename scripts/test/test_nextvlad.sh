#!/usr/bin/env bash
# Extra arguments are passed on and win, for example: bash scripts/test/test_nextvlad.sh --weights=my/weights.pdparams
source "$(dirname "$0")/../use_venv.sh" && python test.py --model_name=NEXTVLAD --config=configs/nextvlad.yaml --log_interval=10 --weights=checkpoints/NEXTVLAD_best "$@"
