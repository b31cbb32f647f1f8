#!/usr/bin/env bash
# Extra arguments are passed on, for example: bash scripts/train/train_nextvlad.sh --batch_size=64
source "$(dirname "$0")/../use_venv.sh" && python train.py --model_name=NEXTVLAD --config=configs/nextvlad.yaml --log_interval=10 --valid_interval=1 --save_dir=checkpoints "$@"
