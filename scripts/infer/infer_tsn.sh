#!/usr/bin/env bash
# Extra arguments are passed on and win, for example: bash scripts/infer/infer_tsn.sh --video_path=clip.mp4
source "$(dirname "$0")/../use_venv.sh" && python infer.py --model_name=TSN --config=configs/tsn.yaml --log_interval=1 --weights=checkpoints/TSN_best --save_dir=save "$@"
