"""A training of scripts/lm that takes seconds, and programs that stand for others, for tests of many processes."""

from preloading import ROOT

TRAIN = ROOT / "scripts/lm/train.sh"

# The recipe with a model that trains in seconds.
SMALL = (
    "--arch leap_transformer_lm_tiny --decoder-layers 1 --criterion cross_entropy --tokens-per-sample 64 "
    "--max-tokens 256 --update-freq 1 --warmup-updates 2 --warmup-init-lr 0.01 --optimizer adam --lr 0.01 "
    "--log-interval 1 --num-workers 0 --disable-validation"
).split()


def programs(folder, **texts):
    """A folder of programs in bash, by their names."""
    for name, text in texts.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder
