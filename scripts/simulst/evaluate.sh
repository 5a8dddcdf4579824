#!/usr/bin/env bash
# Streams a test set through a wait-k translator with SimulEval, and scores it.
#
#   bash scripts/simulst/evaluate.sh MODEL LISTS OUT [--waitk-lagging K] [--jobs N] [OPTION ...]
#
# MODEL: folder of leap-fairseq export, or a checkpoint. LISTS: of leap-fairseq prepare lists, without ending
# (eval/tst-COMMON).
# The same command again goes on where an interrupted one stopped. All options: --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
exec python -P -m leap_fairseq evaluate $(part_of_node) "$@"
