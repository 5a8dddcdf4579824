"""Training in several processes: what fairseq cannot do on a CPU, repaired or refused by the name of the option.

``docs/scaling.md`` has the table of what works, which a test compares with this.
"""

import importlib.util
import logging
import os
from typing import Any, Callable, Optional

import torch
from fairseq.models import distributed_fairseq_model

from leap_fairseq.compat.replacing import replace

logger = logging.getLogger(__name__)

OF_FAIRSCALE = ("fully_sharded", "slowmo")
"""Values of ``--ddp-backend`` whose code is fairscale's; it calls CUDA wherever the weights are."""

BY_HAND = (
    'give each process --distributed-world-size "$WORLD_SIZE" --distributed-rank "$RANK" --distributed-no-spawn '
    "--distributed-init-method env://, as scripts/environment.sh does under torchrun"
)


def repair_ddp_on_cpus() -> None:
    """Lets ``--ddp-backend pytorch_ddp``, fairseq's default, and its other name c10d train on CPUs.

    fairseq 0.12.2 names a GPU to torch's DistributedDataParallel wherever the weights are, and that ends in "device_ids
    and output_device arguments only work with single-device/multiple-device GPU modules".
    """
    replace([distributed_fairseq_model], "DistributedDataParallel", _naming_no_gpu_on_cpus)


def _naming_no_gpu_on_cpus(parallel: Callable) -> Callable:
    def distributed_data_parallel(module, **options):
        if all(parameter.is_cpu for parameter in module.parameters()):
            options.update(device_ids=None, output_device=None)
        return parallel(module, **options)

    return distributed_data_parallel


def count_no_gpus_for_a_cpu(cfg: Any) -> None:
    """Lets ``--cpu`` train in one process on a machine with several GPUs.

    fairseq 0.12.2 takes their number for that of the processes, if no other is given, and starts as many over nccl,
    which knows no CPU.

    Args:
        cfg: fairseq's configuration, which is changed and said.
    """
    asked = cfg.distributed_training
    by_hand = asked.distributed_no_spawn or asked.distributed_init_method is not None
    if cfg.common.cpu and not by_hand and asked.distributed_world_size == torch.cuda.device_count() > 1:
        logger.info("--cpu: one process, not one for each of the %d GPUs", asked.distributed_world_size)
        asked.distributed_world_size = 1


def unworkable_processes(cfg: Any) -> Optional[str]:
    """What to tell of options that would train nothing, or each process alone; None where they can work.

    Args:
        cfg: fairseq's configuration.
    """
    asked = cfg.distributed_training
    on_cpu = cfg.common.cpu or torch.cuda.device_count() == 0
    if asked.ddp_backend in OF_FAIRSCALE:
        return _without_fairscale(asked.ddp_backend, on_cpu)
    if asked.distributed_world_size == 1 and asked.distributed_init_method is None:
        started = os.environ.get("WORLD_SIZE", "1") if "TORCHELASTIC_RUN_ID" in os.environ else "1"
        if started == "1":
            return None
        return f"torchrun has started {started} processes, of which each would train alone: {BY_HAND}"
    if not on_cpu or cfg.common.tpu:
        return None
    if not asked.distributed_no_spawn:
        several = asked.distributed_world_size > 1
        flag = f"--distributed-world-size {asked.distributed_world_size}" if several else "--distributed-init-method"
        one = f"{'give 1' if several else 'leave it out'} to train in one process, or"
        return f"{flag} needs --distributed-no-spawn on a CPU, where fairseq itself starts no process: {one} {BY_HAND}"
    if asked.distributed_backend == "nccl":
        return "--distributed-backend nccl, the default, needs GPUs: give --distributed-backend gloo"
    return None


def _without_fairscale(backend: str, on_cpu: bool) -> Optional[str]:
    if on_cpu:
        return f"--ddp-backend {backend} needs GPUs, for fairscale calls CUDA: give --ddp-backend legacy_ddp"
    if importlib.util.find_spec("fairscale") is None:
        return (
            f"--ddp-backend {backend} needs the Python module fairscale, which is not installed: give --ddp-backend "
            "legacy_ddp, or install it"
        )
    return None
