#!/usr/bin/env bash
# bash scripts/model.sh train|test|infer MODEL [ARGUMENTS]: the old zoo's command for a model, its name in any spelling.
# Extra arguments are passed on and win, for example: bash scripts/model.sh test tsn --weights=my/weights.pdparams
set -euo pipefail

usage="usage: bash scripts/model.sh train|test|infer MODEL [ARGUMENTS], for example: bash scripts/model.sh train TSN"
verb=${1:?"$usage"}
name=${2:?"$usage"}
shift 2
case "$(printf '%s' "$name" | tr '[:upper:]' '[:lower:]' | tr -d '_-')" in
    attentioncluster) model=AttentionCluster slug=attention_cluster ;;
    attentionlstm) model=AttentionLSTM slug=attention_lstm ;;
    nextvlad) model=NEXTVLAD slug=nextvlad ;;
    stnet) model=STNET slug=stnet ;;
    tsn) model=TSN slug=tsn ;;
    tpn) model=TPN slug=tpn ;;
    *) echo "unknown model '$name'; known: AttentionCluster, AttentionLSTM, NEXTVLAD, STNET, TSN, TPN" >&2; exit 2 ;;
esac
source "$(dirname "$0")/use_venv.sh"
common=(--model_name="$model" --config="configs/$slug.yaml")
case "$verb" in
    train) exec python train.py "${common[@]}" --log_interval=10 --valid_interval=1 --save_dir=checkpoints "$@" ;;
    test) exec python test.py "${common[@]}" --log_interval=10 --weights="checkpoints/${model}_best" "$@" ;;
    infer) exec python infer.py "${common[@]}" --log_interval=1 --weights="checkpoints/${model}_best" --save_dir=save "$@" ;;
    *) echo "unknown verb '$verb'; $usage" >&2; exit 2 ;;
esac
