#!/usr/bin/env bash
# Extra arguments are passed on and win, for example: bash scripts/infer/infer_nextvlad.sh --filelist=my.list
source "$(dirname "$0")/../use_venv.sh" && python infer.py --model_name=NEXTVLAD --config=configs/nextvlad.yaml --log_interval=1 --weights=checkpoints/NEXTVLAD_best --save_dir=save "$@"
