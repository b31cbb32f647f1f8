#!/usr/bin/env bash
# bash run.sh MODE MODEL CONFIG with MODE train, eval, predict or inference; set pretrain, resume, weights below or in the environment.
set -euo pipefail
source "$(dirname "$0")/scripts/use_venv.sh"

mode=${1:?"usage: bash run.sh train|eval|predict|inference MODEL CONFIG, for example: bash run.sh train TSN ./configs/tsn.yaml"}
name=${2:?"which model? for example: bash run.sh $mode TSN ./configs/tsn.yaml"}
config=${3:?"which config? for example: bash run.sh $mode $name ./configs/tsn.yaml"}
shift 3

pretrain=${pretrain:-}      # ImageNet backbone for training, or none
resume=${resume:-}          # checkpoint to continue; wins over pretrain
weights=${weights:-}        # what eval, predict and inference load
save_dir=${save_dir:-./data/checkpoints}
save_inference_dir=${save_inference_dir:-./data/inference_model}
use_gpu=${use_gpu:-}        # True or False; default: a GPU where there is one

case "$mode" in
    train)   python train.py --model_name="$name" --config="$config" --log_interval=1 --valid_interval=1 ${use_gpu:+--use_gpu="$use_gpu"} \
                 --save_dir="$save_dir" ${resume:+--resume="$resume"} ${pretrain:+--pretrain="$pretrain"} "$@" ;;
    eval)    python eval.py --model_name="$name" --config="$config" --log_interval=1 ${use_gpu:+--use_gpu="$use_gpu"} \
                 ${weights:+--weights="$weights"} "$@" ;;
    predict) python predict.py --model_name="$name" --config="$config" --log_interval=1 ${use_gpu:+--use_gpu="$use_gpu"} --video_path='' \
                 ${weights:+--weights="$weights"} "$@" ;;
    inference) python inference_model.py --model_name="$name" --config="$config" ${use_gpu:+--use_gpu="$use_gpu"} --save_dir="$save_inference_dir" \
                 ${weights:+--weights="$weights"} "$@" ;;
    *)       echo "Not implemented mode $mode; known: train, eval, predict, inference" >&2; exit 2 ;;
esac
