#!/usr/bin/env bash
# Sets up .venv if needed and runs the tests in it. Arguments go to pytest.
#
#   bash scripts/test.sh                    the default tier (minutes, no network, no GPU)
#   bash scripts/test.sh -m slow            the end-to-end runs
#   bash scripts/test.sh tests/simul -x     part of the tests
#
# With CI=true and no arguments the slow tier runs too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH PYTHONHOME

bash scripts/setup.sh

# Small tensors: more threads than this cost more than they bring.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
if [ $# -eq 0 ] && [ "${CI:-}" = true ]; then
    set -- -m "not gpu" --durations=15
fi
exec .venv/bin/python -m pytest "$@"
