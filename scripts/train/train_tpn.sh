#!/usr/bin/env bash
# Extra arguments are passed on, for example: bash scripts/train/train_tpn.sh --pretrain=ResNet50_pretrained
source "$(dirname "$0")/../use_venv.sh" && python train.py --model_name=TPN --config=configs/tpn.yaml --log_interval=10 --valid_interval=1 --save_dir=checkpoints "$@"
