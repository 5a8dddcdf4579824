"""--bf16 means a TPU to fairseq's command line; here it means bfloat16 on the device that is there."""

import importlib.util
from typing import Callable

import torch
from fairseq import options

from leap_fairseq.compat.replacing import replace


def repair_half_precision() -> None:
    """Lets ``--bf16`` train on GPUs and CPUs, and ``--fp16`` on CPUs.

    fairseq 0.12.2 turns ``--bf16`` on the command line into ``--tpu`` and so leaves the GPU unused; without torch_xla
    it then ends in "'NoneType' object has no attribute 'xla_device'". (fairseq-hydra-train does not.) With ``--cpu
    --fp16`` it flattens the gradients on the current CUDA device, which need not be there.
    """
    replace([options], "parse_args_and_arch", _for_the_device_that_is_there)


def _for_the_device_that_is_there(parse: Callable) -> Callable:
    def parse_args_and_arch(*args, **kwargs):
        parsed = parse(*args, **kwargs)
        namespace = parsed[0] if isinstance(parsed, tuple) else parsed
        if getattr(namespace, "bf16", False) and importlib.util.find_spec("torch_xla") is None:
            namespace.tpu = False
        if getattr(namespace, "fp16", False) and (namespace.cpu or not torch.cuda.is_available()):
            namespace.fp16_no_flatten_grads = True
        return parsed

    return parse_args_and_arch
