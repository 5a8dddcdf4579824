"""What our tasks write into the folder of a training: ``run.json``, from its beginning and after each validation.

The first process alone writes. What cannot be written is a warning: no training ends because of its record.
"""

import datetime
import importlib.metadata
import logging
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import fairseq
import torch
from fairseq.distributed import utils as distributed_utils

from leap_fairseq.files import DataError
from leap_fairseq.report.run_record import RunRecord
from leap_fairseq.tasks.cpu_energy import CpuEnergy

logger = logging.getLogger(__name__)

NO_FIGURES = ("num_updates", "wall", "train_wall", "wps", "ups", "wpb", "bsz")
"""Of what fairseq reports on a validation: counts and speeds, which the record has in its own way."""


class RecordedTraining:
    """For a task, before fairseq's among its bases: keeps the record of its training."""

    _recorder: Optional["_Recorder"] = None

    def begin_training(self, trainer: Any) -> None:
        """The hook of :mod:`leap_fairseq.compat.training_state`: something is left to train, from here on."""
        cfg = trainer.cfg
        if distributed_utils.is_master(cfg.distributed_training) and not cfg.checkpoint.no_save:
            try:
                self._recorder = _Recorder(trainer)
            except OSError as error:
                logger.warning("there will be no record of the training: %s", error)

    def train_step(self, *args, **kwargs):
        """fairseq's hook."""
        self._tick()
        return super().train_step(*args, **kwargs)

    def valid_step(self, *args, **kwargs):
        """fairseq's hook."""
        self._tick()
        return super().valid_step(*args, **kwargs)

    def begin_valid_epoch(self, epoch, model):
        """fairseq's hook."""
        if self._recorder is not None:
            self._recorder.begin_validation()
        super().begin_valid_epoch(epoch, model)

    def post_validate(self, model, stats, agg):
        """fairseq's hook, after each subset."""
        if self._recorder is not None:
            self._recorder.validated(stats)

    def post_save(self, cp_path, num_updates):
        """fairseq's hook, after a checkpoint."""
        if self._recorder is not None:
            self._recorder.advance(num_updates)

    def _tick(self) -> None:
        if self._recorder is not None:
            self._recorder.energy.tick()


class _Recorder:
    def __init__(self, trainer: Any):
        cfg, self.energy, self._began = trainer.cfg, CpuEnergy(), time.monotonic()
        self._subsets: List[str] = cfg.dataset.valid_subset.split(",")
        self._validated = 0
        self._record = RunRecord.open(cfg.checkpoint.save_dir)
        metric, maximize = cfg.checkpoint.best_checkpoint_metric, cfg.checkpoint.maximize_best_checkpoint_metric
        self._record.begin(trainer.get_num_updates(), metric, maximize, **_facts(trainer))
        self.advance(trainer.get_num_updates())

    def begin_validation(self) -> None:
        self._validated = 0

    def validated(self, stats: Dict[str, Any]) -> None:
        figures = {name: float(value) for name, value in stats.items() if _is_figure(name, value)}
        subset, updates = self._subsets[self._validated], stats["num_updates"]
        self._validated += 1
        self._record.validated(subset, updates, time.monotonic() - self._began, figures)
        self.advance(updates)

    def advance(self, updates: int) -> None:
        self._record.advance(updates, time.monotonic() - self._began, self.energy.joules())
        try:
            self._record.write()
        except (OSError, DataError) as error:
            logger.warning("the record of the training in %s is not brought up to date: %s", self._record.folder, error)


def _is_figure(name: str, value: Any) -> bool:
    is_number = isinstance(value, (int, float)) or (torch.is_tensor(value) and value.numel() == 1)
    return is_number and name not in NO_FIGURES and not name.startswith("best_")


def _facts(trainer: Any) -> Dict[str, Any]:
    cfg = trainer.cfg
    known = {
        "command": sys.argv,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "processes": cfg.distributed_training.distributed_world_size,
        "device": _device(trainer.device),
        "threads": torch.get_num_threads(),
        "seed": cfg.common.seed,
        "arch": getattr(cfg.model, "_name", None) or getattr(cfg.model, "arch", None),
        "parameters": sum(weight.numel() for weight in trainer.get_model().parameters()),
        "commit": _commit(Path(__file__).resolve().parents[2]),
        "versions": _versions(),
    }
    return {name: value for name, value in known.items() if value is not None}


def _versions() -> Dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__, "fairseq": fairseq.__version__}
    try:
        found["leap_fairseq"] = importlib.metadata.version("leap-fairseq")
    except importlib.metadata.PackageNotFoundError:
        # A checkout that is not installed: the commit tells.
        pass
    return found


def _commit(root: Path) -> Optional[str]:
    """The commit of a checkout, with "-dirty" where its files differ; None for an installed package."""
    # Not of a repository around the environment.
    if not (root / ".git").exists():
        return None
    command = "git --no-optional-locks describe --always --dirty --abbrev=40 --exclude=*".split()
    try:
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
