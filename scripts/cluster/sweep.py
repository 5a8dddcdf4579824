#!/usr/bin/env python
"""Trains with every combination of some options, each by a script and in a folder of its own; hydra starts the jobs.

    python scripts/cluster/sweep.py script=scripts/simulst/train.sh data=DATA out=OUT \
        +options.waitk_lagging=3,5,7 +options.seed=1,2 'more="--recipe small"'

are six trainings, one after the other, whose SAVE_DIR is OUT/waitk_lagging=3_seed=1 and so on; train.log there is what
they said. `+options.NAME=VALUE,VALUE` is --NAME of the script, `more` are options of all. The same command again goes
on with what is not complete. With hydra/launcher=submitit_slurm each training is a job of a SLURM cluster, with
hydra/launcher=submitit_local a process of this machine, all at once (pip install 'leap-fairseq[cluster]').
"""

import shlex
import subprocess
from pathlib import Path
from typing import Any, List, Mapping

import hydra
from omegaconf import DictConfig, OmegaConf

# A job gets the functions of this file, but not its folder: nothing beside it can be imported.


def flags(options: Mapping[str, Any]) -> List[str]:
    """Words of a command line: a flag for True, nothing for False and null."""
    words = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is not None and value is not False:
            words += [flag] if value is True else [flag, str(value)]
    return words


def run_name(options: Mapping[str, Any]) -> str:
    """The folder of a training: its options, in the order of the command line."""
    return "_".join(f"{name}={value}" for name, value in options.items()).replace("/", "-") or "run"


@hydra.main(version_base="1.3", config_path=".", config_name="sweep")
def main(cfg: DictConfig) -> None:
    """A training of the sweep.

    Raises:
        RuntimeError: it failed; with the end of its log.
    """
    options = OmegaConf.to_container(cfg.options)
    folder = Path(cfg.out, run_name(options))
    folder.mkdir(parents=True, exist_ok=True)
    words = [*flags(options), *shlex.split(cfg.more)]
    # With NODES of another work, each would wait for further machines.
    command = ["env", "-u", "NODES", "-u", "NODE", "bash", cfg.script, cfg.data, folder, *words]
    path = folder / "train.log"
    with path.open("a", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=log).returncode
    if code:
        tail = "\n".join(path.read_text(encoding="utf-8").splitlines()[-5:])
        raise RuntimeError(f"the training ended with {code}; {path} ends with\n{tail}")


if __name__ == "__main__":
    main()
