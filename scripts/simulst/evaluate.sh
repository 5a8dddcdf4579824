#!/usr/bin/env bash
# Streams a test set through a wait-k translator with SimulEval, and scores it.
#
#   bash scripts/simulst/evaluate.sh MODEL LISTS OUT [--waitk-lagging K] [--jobs N] [OPTION ...]
#
# MODEL: folder of export.py, or a checkpoint. LISTS: of data_prep/make_eval_list.py, without ending (eval/tst-COMMON).
# The same command again goes on where an interrupted one stopped. All options: --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
exec python "$ROOT/scripts/simulst/evaluate.py" "$@"
