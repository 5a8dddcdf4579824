#!/usr/bin/env bash
# Builds the C++ of linear attention with the address and undefined-behaviour sanitizers of gcc, in a temporary folder,
# and runs the tests of attention with it, once for each instruction set that this processor knows.
#
#   bash scripts/sanitize.sh                   tests/attention, minutes
#   bash scripts/sanitize.sh tests/layers -x   other tests or options of pytest
#   bash scripts/sanitize.sh --control         plants an error in a copy of the C++; exits 0 if it is seen
#
# Exits with another code than 0 if a sanitizer stops a run or a test fails. Needs g++ with libasan and libubsan.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH PYTHONHOME

bash scripts/setup.sh

PYTHON=$PWD/.venv/bin/python
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT

say() { printf '[sanitize] %s\n' "$*"; }
fail() { printf '[sanitize] error: %s\n' "$*" >&2; exit 1; }

CONTROL=
if [ "${1:-}" = --control ]; then
    CONTROL=1
    set -- tests/attention/test_compiled.py
elif [ $# -eq 0 ]; then
    set -- tests/attention
fi

cp -r leap_fairseq tests setup.py pyproject.toml README.md "$FOLDER"
cd "$FOLDER"
rm -f leap_fairseq/attention/_native*
if [ -n "$CONTROL" ]; then
    # Room for a query too few.
    sed -i 's/sizes\[\] = {BLOCK \* KP,/sizes[] = {(BLOCK - 1) * KP,/' leap_fairseq/attention/native/prefix_attention.h
    grep -q '(BLOCK - 1) \* KP' leap_fairseq/attention/native/prefix_attention.h || fail "the control is out of date"
fi

# A compiler of its own: what setup.py asks for comes last, and -O3 takes minutes here.
printf '#!/bin/sh\nexec g++ "$@" -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all\n' >g++
chmod +x g++
say "building with the sanitizers: a minute"
CXX=$FOLDER/g++ "$PYTHON" setup.py -q build_ext --inplace >build.log 2>&1 || { cat build.log >&2; fail "the build failed"; }

# For pytest: the compiled algorithm is that of one instruction set.
cat >one_family.py <<'PY'
import functools
import os

from leap_fairseq.attention import ALGORITHMS

ALGORITHMS["compiled"] = functools.partial(ALGORITHMS["compiled"], family=int(os.environ["FAMILY"]))
PY

# libstdc++ too: the sanitizers look for its exceptions when the process starts. Python's memory is not given back.
sanitized() {
    env OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
        LD_PRELOAD="$(for name in libasan.so libubsan.so libstdc++.so; do g++ -print-file-name="$name"; done | tr '\n' ' ')" \
        "$@"
}

FAMILIES=$(sanitized "$PYTHON" -c '
from leap_fairseq.attention import compiled_library
assert compiled_library.__file__.startswith("'"$FOLDER"'"), compiled_library.__file__
print("\n".join(compiled_library.families()))')
[ -n "$FAMILIES" ] || fail "the library that was built cannot be loaded"

if [ -n "$CONTROL" ]; then
    if FAMILY=0 sanitized "$PYTHON" -m pytest -p one_family -p no:cacheprovider -q -s -x "$@" >control.log 2>&1; then
        fail "an error was planted, and not seen"
    fi
    grep -m 1 'ERROR: AddressSanitizer' control.log || { cat control.log >&2; fail "the tests failed for another reason"; }
    say "the planted error was seen"
    exit
fi

number=0
while read -r name; do
    say "$name"
    FAMILY=$number sanitized "$PYTHON" -m pytest -p one_family -p no:cacheprovider -q -s "$@" </dev/null
    number=$((number + 1))
done <<<"$FAMILIES"
say "nothing was found"
