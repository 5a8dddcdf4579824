#!/usr/bin/env bash
# Sets up .venv if needed and runs the tests in it. Arguments go to pytest.
#
#   bash scripts/test.sh                    the default tier (minutes, no network, no GPU), a process for each core
#   bash scripts/test.sh -m slow            the end-to-end runs
#   bash scripts/test.sh tests/streaming -x part of the tests
#
# With CI=true and no arguments the slow tier runs too, but for the walks over all options (-m exhaustive).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Hundreds of commands import the package: each would compile it anew.
unset PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

bash scripts/setup.sh

# Small tensors: threads bring nothing, and those that spin while idle take the cores from those that work.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY=passive
if [ $# -eq 0 ]; then
    # A file of tests stays in one process: its fixtures are made once. The order is that of tests/conftest.py: by their
    # number of tests, the longest file would be the last, alone.
    set -- -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
    [ "${CI:-}" != true ] || set -- "$@" -m "not gpu and not exhaustive" --durations=15
fi
exec .venv/bin/python -m pytest "$@"
