#!/usr/bin/env bash
# Makes the virtual environment .venv in the root of the repository, or completes it, or finds it ready.
#
#   bash scripts/setup.sh
#
# LEAP_TORCH   the torch to install, as pip writes a requirement, 2.6 or later. Default: torch==2.13.0. Which build that
#              is, CPU or CUDA, is decided by the package index that pip is set up for. Name the build to be sure:
#              LEAP_TORCH='torch==2.13.0+cpu'. Without a pin, pip may fetch a CUDA build of several GB.
# LEAP_PYTHON  the Python to build .venv with (3.11 or 3.12). Default: the first found of them.
#
# To change either later, remove .venv first. Nothing outside .venv is touched, an active environment included.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# An outer PYTHONPATH or pip --user setting would leak other packages into .venv, or ours out of it. What Python compiles
# here is kept for every later start.
unset PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PYTHONDONTWRITEBYTECODE

VENV=.venv
PYTHON=$VENV/bin/python
STAMP=$VENV/leap-setup.stamp
TORCH=${LEAP_TORCH:-torch==2.13.0}

say() { printf '[setup] %s\n' "$*"; }
fail() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }

suitable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

find_python() {
    if [ -n "${LEAP_PYTHON:-}" ]; then
        suitable "$LEAP_PYTHON" || fail "LEAP_PYTHON=$LEAP_PYTHON is not a Python 3.11 or 3.12 with venv and ensurepip"
        printf '%s\n' "$LEAP_PYTHON"
        return
    fi
    local candidate
    for candidate in python3.11 python3.12 python3; do
        if suitable "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or 3.12 with venv and ensurepip found (on Debian: apt install python3-venv);" \
        "install one, or name it: LEAP_PYTHON=/path/to/python3.11 bash scripts/setup.sh"
}

# One that was moved or copied is not: its commands call the Python of the old place.
usable() {
    [ -x "$PYTHON" ] && "$PYTHON" -m pip --version >/dev/null 2>&1 && suitable "$PYTHON" &&
        (. "$VENV/bin/activate" && [ "$VIRTUAL_ENV" -ef "$VENV" ]) 2>/dev/null
}

# Everything that decides what is installed. An environment whose stamp says the same needs no work.
fingerprint() {
    "$PYTHON" - "$TORCH" <<'PY'
import hashlib, os, pathlib, sys
# Not what an editor keeps beside the files that it has open.
native = sorted(path for path in pathlib.Path("leap_fairseq/attention/native").iterdir() if path.suffix in (".cpp", ".h"))
sources = [pathlib.Path("setup.py"), *native]
parts = [*(path.read_text(encoding="utf-8") for path in sources), sys.argv[1], sys.version, os.getcwd()]
print(hashlib.sha256("\0".join(parts).encode()).hexdigest())
PY
}

# One question to Python on the way that is taken most often: ready already.
end_if_ready() {
    if [ -f "$STAMP" ] && [ -x "$PYTHON" ] && "$PYTHON" -c '' 2>/dev/null; then
        if [ "$(cat "$STAMP")" = "$(fingerprint)" ]; then
            say "$VENV is ready"
            exit 0
        fi
    fi
}
end_if_ready

# Of two at once, as jobs of a cluster that begin together, one would remove what the other is making.
exec 9<scripts/setup.sh
if command -v flock >/dev/null && ! flock --nonblock 9 2>/dev/null; then
    say "another process is making $VENV: waiting for it"
    flock 9 2>/dev/null || say "no locks in $PWD: start nothing else that makes $VENV"
fi
end_if_ready

if ! usable; then
    BASE=$(find_python)
    if [ -e "$VENV" ]; then
        say "$VENV is incomplete, was moved, or its Python is gone: building it anew"
        rm -rf "$VENV"
    fi
    say "making $VENV with $("$BASE" -V)"
    "$BASE" -m venv "$VENV"
fi

rm -f "$STAMP"
say "installing $TORCH, leap-fairseq and what they need: 1 to 2 GB, a minute or two on a fast line"
# torch in the same command as everything else: alone, a later requirement could make pip replace it.
"$PYTHON" -m pip install --disable-pip-version-check --progress-bar off \
    --no-compile "$TORCH" --editable '.[plots,data,serve,dev]'
# This compiles what the commands import, which is a fifth of what pip would compile.
IMPORTS='import torch, fairseq, simuleval; from fairseq_cli import train, interactive; from simuleval import cli'
IMPORTS+='; import torch._dynamo, torch.distributed.run, matplotlib.pyplot, aiohttp, kaldi_native_fbank, soundfile, pytest'
"$PYTHON" -c "$IMPORTS" >/dev/null 2>&1 ||
    fail "the packages are installed but cannot be imported; see: $PYTHON -c '$IMPORTS'"
fingerprint >"$STAMP.part"
mv "$STAMP.part" "$STAMP"
say "$VENV is ready"
