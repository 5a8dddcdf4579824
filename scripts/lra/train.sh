#!/usr/bin/env bash
# Trains a classifier on one task of Long-Range Arena, with any attention: the recipe of the LeaPformer authors.
#
#   bash scripts/lra/train.sh DATA SAVE_DIR [OPTION OF fairseq-train ...]
#
# DATA is the folder that data_prep/prep_lra.py wrote; it says which task it is. Options win over the recipe's:
#   --attention leap                leap (default), leap_one_layer, cosformer, relu, elu, softmax, kernelized, skyformer,
#                                   nystromformer, performer, linformer, informer, reformer, bigbird or local
#   --max-update 1000               the learning rate falls to zero there, after a warm-up of at most an eighth of it
#   --batch-size 32                 samples of an update, of all processes together; said if they cannot share so many
#   --lra-max-length 1024           read only so many tokens of a sequence
#   --lra-eval-samples 2000         validate on so many samples instead of all
#   --pooling cls                   a token in front of the sequence, not the mean, stands for it
# The same command again goes on where it stopped. The best checkpoint is that of the highest validation accuracy, and
# scripts/lra/evaluate.py gives its accuracy on the test. Processes: see scripts/lm/train.sh.
#
# Source: OSU-STARLAB/LeaPformer, pytorch-lra/src/config.py. There, gradients are clipped by value, here by norm.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
[ -n "${1:-}" ] && [ -n "${2:-}" ] || { usage "${BASH_SOURCE[0]}" >&2; exit 2; }
DATA=$1 SAVE_DIR=$2
shift 2
[ -f "$DATA/lra.json" ] || fail "$DATA has no lra.json: give the folder that data_prep/prep_lra.py wrote"

TASK=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["task"])' "$DATA/lra.json")
case $TASK in
    listops) BATCH=32 RATE=1e-4 WARMUP=1000 UPDATES=20000 ;;
    text) BATCH=32 RATE=1e-4 WARMUP=80 UPDATES=20000 ;;
    retrieval) BATCH=16 RATE=2e-4 WARMUP=800 UPDATES=50000 ;;
    pathfinder) BATCH=128 RATE=2e-4 WARMUP=312 UPDATES=50000 ;;
    image) BATCH=256 RATE=1e-4 WARMUP=175 UPDATES=30000 ;;
    *) fail "$DATA/lra.json names the task '$TASK': make the folder again with data_prep/prep_lra.py" ;;
esac
OPTIONS=()
while [ $# -gt 0 ]; do
    case $1 in
        --max-update) UPDATES=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
        --max-update=*) UPDATES=${1#*=}; shift ;;
        --batch-size) BATCH=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
        --batch-size=*) BATCH=${1#*=}; shift ;;
        *) OPTIONS+=("$1"); shift ;;
    esac
done
[[ $UPDATES =~ ^[1-9][0-9]*$ ]] || fail "--max-update is '$UPDATES', but must be a number of at least 1"
[[ $BATCH =~ ^[1-9][0-9]*$ ]] || fail "--batch-size is '$BATCH', but must be a number of at least 1"
choose_processes
EACH=$(((2 * BATCH + WORLD) / (2 * WORLD)))
EACH=$((EACH < 1 ? 1 : EACH))
[ $((EACH * WORLD)) -eq "$BATCH" ] ||
    note "an update has $((EACH * WORLD)) samples, not $BATCH, which $WORLD processes cannot share evenly"
SHORT=$((UPDATES / 8)) EVERY=$((UPDATES > 20 ? UPDATES / 20 : 1))

RECIPE=(
    "$DATA" --user-dir "$PLUGIN" --save-dir "$SAVE_DIR" --task long_range_arena --arch leap_lra
    --criterion sequence_classification --batch-size "$EACH" --required-batch-size-multiple 1
    --optimizer adam --adam-betas '(0.9,0.999)' --adam-eps 1e-6 --clip-norm 1 --lr "$RATE"
    --lr-scheduler polynomial_decay --warmup-updates $((WARMUP < SHORT ? WARMUP : SHORT))
    --total-num-update "$UPDATES" --max-update "$UPDATES"
    --validate-interval 1000000 --save-interval 1000000 --validate-interval-updates "$EVERY"
    --save-interval-updates "$EVERY" --keep-interval-updates 1 --no-epoch-checkpoints
    --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric
    --ddp-backend legacy_ddp --seed 1 --num-workers 0 --no-progress-bar --log-format simple
    --log-interval $((UPDATES > 100 ? 50 : 1))
)
train_in_processes "${RECIPE[@]}" ${OPTIONS[@]+"${OPTIONS[@]}"}
