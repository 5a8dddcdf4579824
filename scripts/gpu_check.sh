#!/usr/bin/env bash
# What the plugin does on one GPU, in ten minutes at most and without a network: the tests that need one, and speeds.
#
#   bash scripts/gpu_check.sh OUT
#
# OUT gets gpu.md, a page of all tables that names the card, the driver, the versions and the commit; a log of each
# step; and its table, unrounded. Nothing is measured that has not been found equal to its law before. A step that fails
# or takes too long does not end the others, but the script then ends with 1. In the environment:
#   PYTHON=...      with torch for CUDA and the plugin's requirements (default: that of .venv, or else python3)
#   WORKERS=8       processes of the tests
#   LEAP_COMMIT=... the commit, where there is no git
set -uo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -eq 1 ] || { sed -n '2,/^set/{/^#/!d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ -x .venv/bin/python ] && FOUND=.venv/bin/python || FOUND=python3
PYTHON=${PYTHON:-$FOUND}
OUT=$1 FAILED=0
mkdir -p "$OUT" || exit 2
OUT=$(cd "$OUT" && pwd)
"$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
    { printf 'error: torch finds no CUDA device: this check is for a machine with a GPU\n' >&2; exit 2; }
printf 'step\tseconds\tends with\n' >"$OUT/steps.tsv"

# A terminal's Ctrl-C does not reach a step, which `timeout` has put into a group of its own.
trap 'kill $(jobs -pr) 2>/dev/null; wait; exit 130' INT TERM

# step NAME SECONDS COMMAND...: bounded, logged and noted.
step() {
    local name=$1 limit=$2 start=$SECONDS code
    shift 2
    # That of an earlier run would stand on the page of this one.
    rm -f "$OUT/$name.tsv"
    timeout --kill-after=5 "$limit" "$@" >"$OUT/$name.log" 2>&1 &
    wait $!
    code=$?
    [ $code -eq 0 ] || FAILED=1
    printf '%s\t%s\t%s\n' "$name" $((SECONDS - start)) $code >>"$OUT/steps.tsv"
    printf '[gpu_check] %s ended with %s after %s s\n' "$name" $code $((SECONDS - start))
}

BENCHMARK=("$PYTHON" scripts/benchmark.py)
BF16=(--device cuda --dtype bf16)
step tests 200 "$PYTHON" -m pytest tests/gpu tests/attention -m gpu -q -n "${WORKERS:-8}" -p no:cacheprovider
step attention 100 "${BENCHMARK[@]}" attention "${BF16[@]}" --lengths 512 2048 8192 32768 --positions 32768 --heads 8 \
    --dim 64 --algorithms sdpa triton blockwise --matmul 8192 --tsv "$OUT/attention.tsv"
step updates 130 "${BENCHMARK[@]}" gpu-updates "${BF16[@]}" --tsv "$OUT/updates.tsv"
step streams 50 "${BENCHMARK[@]}" simulst --device cuda --seconds 10 --minutes 0 --tsv "$OUT/streams.tsv"
# Its first call tries variants of its kernels for minutes.
if "$PYTHON" -c 'import fla.ops.linear_attn' 2>/dev/null; then
    step fla 110 "${BENCHMARK[@]}" attention "${BF16[@]}" --lengths 2048 --positions 32768 --heads 8 --dim 64 \
        --algorithms sdpa triton fla --tsv "$OUT/fla.tsv"
fi
"${BENCHMARK[@]}" gpu-report "$OUT" || FAILED=1
exit $FAILED
