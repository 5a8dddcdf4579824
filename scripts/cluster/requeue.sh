# Sourced by the sbatch files beside it, which run in the folder that sbatch was called in: the root of the repository.
source scripts/environment.sh

# run_until_the_limit COMMAND...: runs it, and gives its exit code. At SIGUSR1, which SLURM sends before the time limit,
# the job goes back into the queue, and goes on from the last checkpoint when it starts again.
run_until_the_limit() {
    local command code signalled
    trap 'signalled=yes; note "the time limit is near: the job goes back into the queue"; scontrol requeue "$SLURM_JOB_ID"' USR1
    "$@" &
    command=$!
    # The signal ends the waiting, not the command, which may end on its own before the trap has done its work.
    while :; do
        signalled= code=0
        wait "$command" || code=$?
        [ -n "$signalled" ] || return "$code"
    done
}
