"""--bf16 and --fp16 mean half precision on the device that is there; to fairseq they mean a TPU, and a GPU."""

import argparse
import importlib.util
from typing import Callable

from fairseq import options
from fairseq.optim.fp16_optimizer import FP16Optimizer

from leap_fairseq.compat.replacing import replace


def repair_bf16_option() -> None:
    """Lets ``--bf16`` train on GPUs and CPUs.

    fairseq 0.12.2 turns ``--bf16`` on the command line into ``--tpu`` and so leaves the GPU unused; without torch_xla
    it then ends in "'NoneType' object has no attribute 'xla_device'". (fairseq-hydra-train does not.)
    """
    replace([options], "parse_args_and_arch", _on_a_tpu_only_where_there_is_one, symptom=_takes_bf16_for_a_tpu)


def _takes_bf16_for_a_tpu(parse: Callable) -> bool:
    parser = argparse.ArgumentParser(add_help=False)
    parser.set_defaults(bf16=True, fp16=False, batch_size=None)
    return getattr(parse(parser, []), "tpu", False)


def _on_a_tpu_only_where_there_is_one(parse: Callable) -> Callable:
    def parse_args_and_arch(*args, **kwargs):
        parsed = parse(*args, **kwargs)
        namespace = parsed[0] if isinstance(parsed, tuple) else parsed
        if getattr(namespace, "bf16", False) and importlib.util.find_spec("torch_xla") is None:
            namespace.tpu = False
        return parsed

    return parse_args_and_arch


def repair_fp16_on_cpus() -> None:
    """Lets ``--fp16`` train on CPUs.

    fairseq 0.12.2 flattens the gradients on the current CUDA device, wherever the weights are, and that need not be
    there ("Found no NVIDIA driver on your system").
    """
    replace([FP16Optimizer], "build_optimizer", _flat_on_gpus_only, symptom=_asks_for_cuda)


def _asks_for_cuda(build: Callable) -> bool:
    # Read, not tried: asking would set CUDA up in this process, which may still fork.
    return "current_device" in FP16Optimizer.build_fp32_params.__code__.co_names


def _flat_on_gpus_only(build: Callable) -> Callable:
    def build_optimizer(cfg, params, **kwargs):
        params = list(params)
        if all(getattr(parameter, "is_cpu", False) for parameter in params):
            cfg.common.fp16_no_flatten_grads = True
        return build(cfg, params, **kwargs)

    return build_optimizer
