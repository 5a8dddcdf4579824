#!/usr/bin/env bash
# Evaluates a translator over k: a table, and the curve of quality over latency.
#
#   bash scripts/simulst/sweep.sh MODEL LISTS OUT --waitk-lagging 1 3 5 7 9 [OPTION OF evaluate.sh ...]
#
# On several machines: the same command on each, with NODES=2 and its own NODE from 0, or as a job of an array with
# --part "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT", and OUT in a folder that all see. The last one makes the table.
#
# Best with a model that was trained for all of them (train.sh ... --waitk-lagging 1-9). Each k has its folder OUT/kK;
# OUT gets table.tsv, table.json and quality_latency.png. Curves of several models, in one picture:
#   leap-fairseq plot quality OUT/table.tsv OTHER/table.tsv --group model --out curves.png
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
[ $# -ge 4 ] || { usage "${BASH_SOURCE[0]}" >&2; exit 2; }
exec python -P -m leap_fairseq evaluate $(part_of_node) "$@"
