#!/usr/bin/env bash
# Compares attentions on tasks of Long-Range Arena at the same sizes and budget: a table and a plot.
#
#   bash scripts/lra/sweep.sh OUT DATA [DATA ...] [--attention leap softmax ...] [--seeds 1 2 3]
#                             [--updates 1000 | --cpu-minutes 30] [--batch-size 32] [--eval-samples 2000] [--jobs 2]
#                             [--cuda] [--options '...']
#
# DATA are folders of data_prep/prep_lra.py. --updates, --cpu-minutes, --batch-size and --eval-samples take one number, or
# one for each DATA; --options go to fairseq-train, such as '--attention-dropout 0 --lr 1e-3'. For example:
#   bash scripts/lra/sweep.sh runs/lra/sweep runs/lra/listops runs/lra/text --updates 1000 1600 --batch-size 32 8
# On several machines: the same command on each, with NODES=2 and its own NODE from 0, or as a job of an array with
# --part "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT", and OUT in a folder that all see. The last one reports.
# Everything goes to OUT; what is complete there is reused, what was interrupted goes on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
# Idle threads that spin take the cores from those that work.
export OMP_WAIT_POLICY=passive OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec python "$ROOT/scripts/lra/sweep.py" $(part_of_node) "$@"
