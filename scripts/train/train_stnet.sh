#!/usr/bin/env bash
# Extra arguments are passed on, for example: bash scripts/train/train_stnet.sh --pretrain=ResNet50_pretrained
source "$(dirname "$0")/../use_venv.sh" && python train.py --model_name=STNET --config=configs/stnet.yaml --log_interval=10 --valid_interval=1 --save_dir=checkpoints "$@"
