# Sourced by the sbatch files beside it, which run in the folder that sbatch was called in: the root of the repository.
source scripts/environment.sh

# run_until_the_limit COMMAND...: runs it, and gives its exit code. At SIGUSR1, which SLURM sends before the time limit,
# the job goes back into the queue, and goes on from the last checkpoint when it starts again.
run_until_the_limit() {
    local command code=0
    trap 'note "the time limit is near: the job goes back into the queue"; scontrol requeue "$SLURM_JOB_ID"' USR1
    "$@" &
    command=$!
    wait "$command" || code=$?
    # The signal ends the waiting, not the command.
    while kill -0 "$command" 2>/dev/null; do
        code=0
        wait "$command" || code=$?
    done
    return "$code"
}
