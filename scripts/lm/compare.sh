#!/usr/bin/env bash
# Compares attentions in a small language model, at the same sizes, text and budget: table and plot.
#
#   bash scripts/lm/compare.sh TEXT OUT [--updates 300] [--seeds 1 2 3] [--models leap softmax ...] [--jobs 2]
#
# TEXT is a folder with train, valid and test text, split into words (for one of Wikipedia, see
# data_prep/make_wikipedia_text.py). Everything goes to OUT; what is complete there is reused.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
# Idle threads that spin take the cores from those that work.
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec python "$ROOT/scripts/lm/compare.py" "$@"
