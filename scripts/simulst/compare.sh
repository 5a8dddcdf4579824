#!/usr/bin/env bash
# Compares attentions in a small simultaneous translator, at the same sizes, data and updates: BLEU over k.
#
#   bash scripts/simulst/compare.sh DATA OUT [--models leap contrast_fading softmax ...] [--updates 2000]
#                 [--lr 1e-3 2e-3 4e-3] [--seeds 1 2 3] [--waitk-lagging 1 3 5 7 9 12] [--jobs 2]
#
# DATA is the folder that data_prep/prep_mustc.py wrote. A model is a kind of attention for every block, or three joined
# by +, of the encoder, of the decoder, and between them: hedgehog+hedgehog+softmax. With _fading behind it, the weights
# of linear self-attention halve with age, every 2 tokens in the first head to every 64 in the last. Everything goes to
# OUT; what is complete there is reused.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
# Idle threads that spin take the cores from those that work.
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec python "$ROOT/scripts/simulst/compare.py" "$@"
