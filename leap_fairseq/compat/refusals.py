"""What cannot work is refused before anything begins, with what to do."""

import argparse
from typing import Callable, Optional

from fairseq.distributed import utils as distributed_utils
from fairseq.trainer import Trainer

from leap_fairseq.compat.missing_packages import missing_package
from leap_fairseq.compat.processes import count_no_gpus_for_a_cpu, unworkable_processes
from leap_fairseq.compat.replacing import replace


def refuse_what_cannot_work() -> None:
    """Asks for packages and processes where a command of fairseq begins.

    fairseq-hydra-train reads the plugin only after that, and is asked when it builds the trainer.
    """
    replace([distributed_utils], "call_main", _refusing)
    replace([Trainer], "__init__", _refusing_as_late)


def _refuse(reason: Optional[str]) -> None:
    if reason:
        raise ValueError(reason)


def _refusing(call: Callable) -> Callable:
    def call_main(cfg, main, **kwargs):
        _refuse(missing_package(cfg.common))
        count_no_gpus_for_a_cpu(cfg)
        _refuse(unworkable_processes(cfg))
        return call(cfg, main, **kwargs)

    return call_main


def _refusing_as_late(build: Callable) -> Callable:
    def __init__(self, cfg, *args, **kwargs):
        # Of commands from before fairseq 0.10.
        if not isinstance(cfg, argparse.Namespace):
            _refuse(missing_package(cfg.common) or unworkable_processes(cfg))
        build(self, cfg, *args, **kwargs)

    return __init__
