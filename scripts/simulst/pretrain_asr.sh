#!/usr/bin/env bash
# Trains an offline speech recogniser, whose encoder a translator can begin with.
#
#   bash scripts/simulst/pretrain_asr.sh DATA SAVE_DIR [--recipe official|small] [OPTION OF fairseq-train ...]
#
# DATA is the folder that leap-fairseq prepare mustc (mtedx, ...) wrote with --task asr or both. Options come after the
# recipe's and win: --encoder-self-attention softmax, --encoder-layers 6, ... Give train.sh the same for the encoder. A
# recogniser that streams is trained by train.sh --config-yaml config_asr.yaml.
# The same command again goes on where it stopped. Processes and recipes: see scripts/lm/train.sh and recipes.sh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
source "$(dirname "${BASH_SOURCE[0]}")/recipes.sh"
train_by_recipe asr "$@"
