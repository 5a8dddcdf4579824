# Sourced by the scripts of the folders beside it: where the plugin is, fairseq's commands on the PATH, and processes.
#
# An environment that has the commands is used as it is; otherwise .venv in the root of the repository, made if needed.
ROOT=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
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

# choose_processes: sets GPUS, and WORLD, the number of processes of all machines, from PROCESSES and NODES.
choose_processes() {
    GPUS=$(count_gpus)
    NODES=${NODES:-1} NODE=${NODE:-0} MASTER=${MASTER:-localhost:29500}
    PROCESSES=${PROCESSES:-$((GPUS > 0 ? GPUS : 1))}
    WORLD=$((NODES * PROCESSES))
}

# train_in_processes OPTIONS...: fairseq-train in WORLD processes, one for each GPU or on the CPU; it takes over.
train_in_processes() {
    local device=()
    [ "$GPUS" -gt 0 ] || device=(--cpu)
    if [ "$WORLD" -eq 1 ]; then
        exec fairseq-train "$@" --distributed-world-size 1 ${device[@]+"${device[@]}"}
    fi
    # fairseq would look for the ranks of torchrun only where it sees several GPUs itself.
    [ "$GPUS" -gt 0 ] && BACKEND=nccl || BACKEND=gloo
    export BACKEND
    exec torchrun --no-python --nnodes "$NODES" --node-rank "$NODE" --nproc-per-node "$PROCESSES" \
        --master-addr "${MASTER%:*}" --master-port "${MASTER#*:}" \
        bash -c 'exec fairseq-train "$@" --distributed-world-size "$WORLD_SIZE" --distributed-rank "$RANK" \
            --device-id "$LOCAL_RANK" --distributed-init-method env:// --distributed-no-spawn \
            --distributed-backend "$BACKEND"' -- "$@" ${device[@]+"${device[@]}"}
}
