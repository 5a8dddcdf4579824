#!/usr/bin/env bash
# Trains a language model on WikiText-103: the recipe of the LeaPformer authors, with any attention.
#
#   bash scripts/lm/train.sh DATA SAVE_DIR [OPTION OF fairseq-train ...]
#
# DATA is the folder that data_prep/prep_wikitext.py wrote. Options come after the recipe's and win over them:
#   --decoder-self-attention softmax    leap (default), cosformer, relu, elu or softmax
#   --bf16, --fp16                      half precision, on GPUs; float32 by default
#   --arch leap_transformer_lm_tiny --criterion cross_entropy    another model, without an adaptive softmax
# The same command again goes on where it stopped, and ends with the weights of a run without a stop; when it has
# ended, it changes nothing.
#
# There is a process for each GPU of the machine, or one on the CPU. In the environment:
#   PROCESSES=4                         so many instead
#   NODES=2 NODE=0 MASTER=host:29500    several machines: the same command on each, with its own NODE from 0
#   RESTARTS=3                          when a process ends with an error, all go on from the last checkpoint, so often
# An update has 65,536 tokens, whatever the number of processes: 8 of them with 2 batches of 4,096 each, and so on. A
# number that does not divide it is said, with the tokens that an update has then. Clusters: docs/scaling.md.
#
# Source: OSU-STARLAB/LeaPformer, leapformer-scripts/lm/adaptive_lm_train.sh; it does not say on how many GPUs.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
[ -n "${1:-}" ] && [ -n "${2:-}" ] || { usage "${BASH_SOURCE[0]}" >&2; exit 2; }
DATA=$1 SAVE_DIR=$2
shift 2
[ -f "$DATA/dict.txt" ] || fail "$DATA has no dict.txt: give the folder that data_prep/prep_wikitext.py wrote"

UPDATE_TOKENS=65536 BATCH_TOKENS=4096 BLOCK=512

# share_update OPTIONS...: sets BATCHES, of a process in an update, and BATCH_TOKENS, so that an update has UPDATE_TOKENS
# or whole blocks of nearly as many, in at most twice the batches that are needed.
share_update() {
    local blocks=$((UPDATE_TOKENS / BLOCK)) most=$((BATCH_TOKENS / BLOCK)) fewest batches size missed least=
    fewest=$(((blocks + WORLD * most - 1) / (WORLD * most)))
    for ((batches = fewest; batches <= 2 * fewest; batches++)); do
        size=$(((2 * blocks + WORLD * batches) / (2 * WORLD * batches)))
        size=$((size < 1 ? 1 : size > most ? most : size))
        missed=$((blocks - WORLD * batches * size))
        if [ -z "$least" ] || [ "${missed#-}" -lt "$least" ]; then
            least=${missed#-} BATCHES=$batches BATCH_TOKENS=$((size * BLOCK))
        fi
    done
    # Who gives them has chosen another size.
    [ "$least" -eq 0 ] || [[ " $* " =~ \ --(max-tokens|batch-size|update-freq)[\ =] ]] ||
        note "an update has $((WORLD * BATCHES * BATCH_TOKENS)) tokens, not $UPDATE_TOKENS, which $WORLD processes" \
            "cannot share evenly: $BATCHES batches of $BATCH_TOKENS for each"
}

choose_processes
share_update "$@"

RECIPE=(
    "$DATA" --user-dir "$PLUGIN" --save-dir "$SAVE_DIR" --task leap_language_modeling
    --arch leap_transformer_lm_wiki103 --criterion adaptive_loss
    --tokens-per-sample 512 --sample-break-mode none --skip-invalid-size-inputs-valid-test
    --max-tokens "$BATCH_TOKENS" --update-freq "$BATCHES" --max-update 250000
    --optimizer nag --lr 1.0 --clip-norm 0.1
    --lr-scheduler cosine --warmup-updates 8000 --warmup-init-lr 1e-07 --lr-period-updates 270000
    --t-mult 2 --lr-shrink 0.75 --min-lr 0.0001 --stop-min-lr 1e-09
    --ddp-backend legacy_ddp --seed 1 --log-format simple --log-interval 100
    --save-interval-updates 5000 --keep-interval-updates 2 --no-epoch-checkpoints
)
train_in_processes "${RECIPE[@]}" "$@"
