# Sourced by the scripts beside it: where the plugin is, and fairseq's commands on the PATH.
#
# An environment that has them is used as it is; otherwise .venv in the root of the repository, made if needed.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PLUGIN=$ROOT/leap_fairseq
unset PYTHONPATH PYTHONHOME

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

if ! command -v fairseq-train >/dev/null; then
    bash "$ROOT/scripts/setup.sh" >&2
    export PATH="$ROOT/.venv/bin:$PATH"
fi

count_gpus() { python -c 'import torch; print(torch.cuda.device_count())'; }

# usage SCRIPT: the comment at its head.
usage() { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$1"; }
