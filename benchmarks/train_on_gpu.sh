#!/usr/bin/env bash
# Trains the packed network, then `base` at native 64 px, on one GPU. Started again, it goes on where it stopped.
#   bash benchmarks/train_on_gpu.sh path/to/pokemon-sprites outputs/gpu [MINUTES of both together, 40] [flags of the trainer]
set -euo pipefail
data=$1 output=$2 minutes=${3:-40}
share=(packed 40 base 60) # percent of the time
for i in 0 2; do
    network=${share[i]} folder=$output/${share[i]} resume=()
    compgen -G "$folder/checkpoint-*" >/dev/null && resume=(--resume_from_checkpoint latest)
    accelerate launch "$(dirname "$0")/../train_conditional.py" "$(dirname "$0")/recipes/$network.yaml" \
        --train_data_dir "$data" --output_dir "$folder" --max_train_seconds $((minutes * 60 * share[i + 1] / 100)) \
        "${resume[@]}" "${@:4}"
done
