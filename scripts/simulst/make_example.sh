#!/usr/bin/env bash
# Makes the model of `leap-fairseq translate --example` anew: corpus, training, model, recording and scores.
#
#   bash scripts/simulst/make_example.sh WORK [OUT]
#
# WORK takes the corpus, the training and the scores, OUT (default: leap_fairseq/example) the model and the recording.
# The card beside them is written by hand, with the scores of WORK/scores/table.tsv. A quarter of an hour on a CPU, and
# a minute for each k. The same command again goes on where it stopped.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
[ $# -eq 1 ] || [ $# -eq 2 ] && [ -n "$1" ] && [ -n "${2-none}" ] || { usage "${BASH_SOURCE[0]}" >&2; exit 2; }
WORK=$1 OUT=${2-$PLUGIN/example}
leap() { python -P -m leap_fairseq "$@"; }

leap prepare travel "$WORK/corpus" --sentences-test 500
leap prepare mustc "$WORK/corpus" --tgt-lang de --vocab-size 300 --specaugment none --out "$WORK/data" -j 2
CUDA_VISIBLE_DEVICES='' PROCESSES=1 NODES=1 NODE=0 bash "$ROOT/scripts/simulst/train.sh" "$WORK/data" "$WORK/translator" \
    --recipe small --seed 3 --max-update 2000 --save-interval-updates 500 --waitk-lagging 1-12 \
    --encoder-visibility segment --encoder-self-attention contrast --decoder-self-attention contrast \
    --decoder-cross-attention contrast --encoder-attention-half-life 2-64 --decoder-attention-half-life 2-64
leap export "$WORK/translator/checkpoint_best.pt" "$OUT/model" --data-bin "$WORK/data" --dtype fp16

leap prepare lists "$WORK/corpus" --split tst-COMMON --out "$WORK/eval"
python -c 'import sys, soundfile; soundfile.write(sys.argv[2], *soundfile.read(sys.argv[1], dtype="int16"))' \
    "$WORK/eval/tst-COMMON_wavs/travel_tst-COMMON_1_1.wav" "$OUT/speech.flac"
leap evaluate "$OUT/model" "$WORK/eval/tst-COMMON" "$WORK/scores" --tgt-lang de --waitk-lagging 3 5 6 9
leap evaluate "$OUT/model" "$WORK/eval/tst-COMMON" "$WORK/sure" --tgt-lang de --policy confidence --threshold 0.7 0.9
