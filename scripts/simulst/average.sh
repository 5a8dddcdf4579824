#!/usr/bin/env bash
# Averages the weights of the last checkpoints of a training into one, which loads wherever they do.
#
#   bash scripts/simulst/average.sh SAVE_DIR OUT.pt [N] [--by epoch|update]
#   bash scripts/simulst/average.sh SAVE_DIR OUT.pt --best N
#
# SAVE_DIR is that of train.sh, pretrain_asr.sh or any fairseq-train. N is 10 unless given; where there are fewer, all
# are taken. They are those of each epoch, checkpoint12.pt, if there are any, else those of updates,
# checkpoint_12_3400.pt; --best takes checkpoint.best_loss_2.314.pt and the like. The recipes keep one an epoch
# (official) or the last 5 of every 100 updates (small; --keep-interval-updates 10 keeps more).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
[ $# -ge 2 ] || { usage "${BASH_SOURCE[0]}" >&2; exit 2; }
exec python -P -m leap_fairseq average "$@"
