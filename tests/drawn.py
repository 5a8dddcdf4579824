"""Properties that are tried on random draws, the same ones with each run."""

import torch
from hypothesis import HealthCheck, Phase, settings

TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
OTHER_TYPES = (torch.int8, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.bool, torch.complex64)


def drawn(examples):
    """A decorator outside of hypothesis' ``given``.

    Args:
        examples: how many draws.
    """
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
