#!/usr/bin/env bash
# Trains a simultaneous speech translator (wait-k), or recogniser, with any attention in each block.
#
#   bash scripts/simulst/train.sh DATA SAVE_DIR [--recipe official|small] [OPTION OF fairseq-train ...]
#
# DATA is the folder that leap-fairseq prepare mustc (mtedx, ...) wrote. Options come after the recipe's and win:
#   --load-pretrained-encoder-from asr/checkpoint_best.pt    of pretrain_asr.sh: the recipe of the paper. The options of
#                                                            both encoders must be the same
#   --config-yaml config_asr.yaml         a recogniser, of data that were prepared with --task asr or both
#   --waitk-lagging 3, or 1-9             one k, or one model for all of them (default: 5)
#   --fixed-pre-decision-ratio 7          encoder frames of 40 ms between two decisions (default: 9; small: 4)
#   --encoder-self-attention softmax      and --decoder-self-attention, --decoder-cross-attention: leap (default),
#                                         contrast, hedgehog, relu, ... or softmax: docs/options.md
#   --encoder-attention-half-life 2-64    and --decoder-attention-half-life: linear self-attention that forgets
#   --fp16                                half precision, on GPUs
# The same command again goes on where it stopped. Processes and recipes: see scripts/lm/train.sh and recipes.sh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
source "$(dirname "${BASH_SOURCE[0]}")/recipes.sh"
train_by_recipe st "$@"
