#!/usr/bin/env bash
# From nothing to named predictions: installs, makes synthetic clips, trains a tiny TSN and a tiny StNet, tests, infers one clip.
source "$(dirname "$0")/environment.sh"

data=quickstart_data
[ -f "$data/val.list" ] || $PYTHON dataset/quickstart/make_clips.py "$data"

for model in TSN STNET; do
    config=configs/quickstart/$(echo "$model" | tr '[:upper:]' '[:lower:]').yaml
    echo "== $model: train"
    $PYTHON train.py --model_name=$model --config="$config" --pretrain=none --save_dir=$data/checkpoints --log_interval=4
    echo "== $model: test"
    $PYTHON test.py --model_name=$model --config="$config" --weights=$data/checkpoints/${model}_best --save_dir=$data/results
done

echo "== STNET: infer one clip of the class 'falling'"
$PYTHON infer.py --weights=$data/checkpoints/STNET_best --video_path=$data/clips/falling/val_000.mp4 --save_dir=$data/results
echo "results are in $data/results; next: your own clips, see README.md"
