#!/usr/bin/env bash
# Perplexity of a language model: fairseq-eval-lm, each token of the text scored exactly once.
#
#   bash scripts/lm/eval.sh DATA CHECKPOINT [OPTION OF fairseq-eval-lm ...]
#
# Options come last and win over the defaults (--gen-subset test --tokens-per-sample 512 --batch-size 8):
#   --context-window 256    every token sees at least so many before it. A block of 512 is then read for 256 tokens, so
#                           that each is computed 512 / (512 - 256) = 2 times; with 384 it is 4 times, with the usual
#                           511 of the literature 512 times. The log says the cost and a cheaper window.
#   --carry-state           the text is read in order, and every token sees all the text before it, at the cost of no
#                           window; for models with linear attention, best trained so.
#   --post-process sentencepiece    the perplexity per word of a model of pieces, after that per piece
#   --gen-subset valid      another split
#   --fp16                  half precision, on a GPU
#
# In the environment:
#   PROCESSES=4             so many parts of the text are scored at the same time, each by its own process, or GPU: the
#                           perplexity is that of one process, within rounding. With --carry-state they share the
#                           streams of --batch-size, which must be a multiple of their number.
#   PARTS=runs/lm/parts     keeps the parts: those that are complete are not scored again
#   NODES=2 NODE=0          several machines: the same command on each, with its own NODE from 0, and PARTS in a folder
#                           that all see; the last one prints the perplexity
# A window as long as the block, a block longer than the model's positions and another dictionary are errors.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
[ $# -ge 2 ] || { usage "${BASH_SOURCE[0]}" >&2; exit 2; }
DATA=$1 CHECKPOINT=$2
shift 2
[ -f "$DATA/dict.txt" ] || fail "$DATA has no dict.txt: give the folder that data_prep/prep_wikitext.py wrote"
[ -f "$CHECKPOINT" ] || fail "$CHECKPOINT is no file: give a checkpoint of scripts/lm/train.sh"

# A carried text is one stream unless the user says otherwise.
case " $* " in *" --carry-state "*) BATCH=1 ;; *) BATCH=8 ;; esac
GPUS=$(count_gpus)
[ "$GPUS" -gt 0 ] && DEVICE=() || DEVICE=(--cpu)
OPTIONS=(
    --user-dir "$PLUGIN" --task leap_language_modeling --gen-subset test --tokens-per-sample 512
    --batch-size "$BATCH" --distributed-world-size 1 ${DEVICE[@]+"${DEVICE[@]}"} "$@"
)
if [ "${PROCESSES:-1}${PARTS:-}${NODES:-1}" != 11 ]; then
    export GPUS
    exec python "$ROOT/scripts/lm/eval_parts.py" "$DATA" "$CHECKPOINT" "${OPTIONS[@]}"
fi
exec fairseq-eval-lm "$DATA" --path "$CHECKPOINT" "${OPTIONS[@]}"
