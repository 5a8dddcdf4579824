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

# part_of_node: the option that says which part of the work this machine does, where NODES says that there are several;
# before those of the user, which win.
part_of_node() { [ "${NODES:-1}" = 1 ] || printf -- '--part %s/%s' "${NODE:-0}" "$NODES"; }

# note TEXT...: for the user, beside the log.
note() { printf 'note: %s\n' "$*" >&2; }

# require_number NAME LEAST: the environment's variable is a whole number from LEAST on.
require_number() {
    [[ ${!1} =~ ^(0|[1-9][0-9]{0,5})$ ]] && [ "${!1}" -ge "$2" ] ||
        fail "$1 is '${!1}', but must be a whole number from $2 on"
}

# choose_processes: sets GPUS, and WORLD, the number of processes of all machines, from PROCESSES and NODES.
choose_processes() {
    GPUS=$(count_gpus)
    NODES=${NODES:-1} NODE=${NODE:-0} RESTARTS=${RESTARTS:-0}
    PROCESSES=${PROCESSES:-$((GPUS > 0 ? GPUS : 1))}
    require_number PROCESSES 1
    require_number NODES 1
    require_number NODE 0
    require_number RESTARTS 0
    [ "$NODE" -lt "$NODES" ] || fail "NODE is $NODE, but NODES is $NODES: count from 0 to $((NODES - 1))"
    [ "$NODES" -eq 1 ] || [[ ${MASTER:-} =~ ^.+:[0-9]+$ ]] ||
        fail "MASTER is '${MASTER:-}', but $NODES machines need HOST:PORT, a free port of the one whose NODE is 0"
    [ "$GPUS" -eq 0 ] || [ "$PROCESSES" -le "$GPUS" ] ||
        fail "PROCESSES is $PROCESSES, but there are $GPUS GPUs here, of which each takes one: choose fewer, or NODES"
    WORLD=$((NODES * PROCESSES))
}

# train_in_processes OPTIONS...: fairseq-train in WORLD processes, one for each GPU or on the CPU; it takes over.
train_in_processes() {
    local device=() meeting=(--standalone)
    [ "$GPUS" -gt 0 ] || device=(--cpu)
    if [ "$WORLD" -eq 1 ] && [ "$RESTARTS" -eq 0 ]; then
        exec fairseq-train "$@" --distributed-world-size 1 ${device[@]+"${device[@]}"}
    fi
    # torchrun's other way to meet, by ranks, has no restarts beyond one machine.
    [ "$NODES" -eq 1 ] || meeting=(--rdzv-backend c10d --rdzv-endpoint "$MASTER" --rdzv-id "$MASTER"
        --rdzv-conf "is_host=$((NODE == 0))" ${ADDRESS:+--local-addr "$ADDRESS"})
    # fairseq would look for the ranks of torchrun only where it sees several GPUs itself.
    [ "$GPUS" -gt 0 ] && BACKEND=nccl || BACKEND=gloo
    # Otherwise torch 2.13 keeps what processes tell each other over a restart, and they call addresses of dead ones.
    export BACKEND TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    exec torchrun --no-python --nnodes "$NODES" --nproc-per-node "$PROCESSES" --max-restarts "$RESTARTS" \
        "${meeting[@]}" \
        bash -c 'exec fairseq-train "$@" --distributed-world-size "$WORLD_SIZE" --distributed-rank "$RANK" \
            --device-id "$LOCAL_RANK" --distributed-init-method env:// --distributed-no-spawn \
            --distributed-backend "$BACKEND"' -- "$@" ${device[@]+"${device[@]}"}
}
