"""``--store-ema``: the moving average of a model's weights is that of every weight, once an update."""

import argparse
from typing import Callable, Optional

import torch
from fairseq.models.ema.ema import EMA
from torch import Tensor, nn

from leap_fairseq.compat.replacing import replace


def repair_weight_averages() -> None:
    """Averages every weight once, copies whole numbers, and goes on after an interruption as without it.

    fairseq 0.12.2 multiplies every entry of the state by the decay: a checksum or a counter ends in "result type Float
    can't be cast to the desired output type Long", and a weight that two modules share is averaged twice. With
    ``--ema-update-freq`` it counts updates from the start of the process, so that a resumed training averages others.
    """
    replace([EMA], "_step_internal", lambda _: _average, symptom=_averages_otherwise)
    replace([EMA], "step", _by_the_number_of_the_update, symptom=_counts_from_the_start)


def _trial(frequency: int = 1) -> "tuple[EMA, nn.Module]":
    """An average of the weight 2, and the model, whose weight is 4 by now."""
    model = nn.Module()
    model.weight = model.tied = nn.Parameter(torch.tensor(2.0))
    model.register_buffer("count", torch.tensor(1))
    config = argparse.Namespace(ema_decay=0.5, ema_start_update=0, ema_update_freq=frequency)
    config.ema_seed_model, config.ema_fp32 = None, False
    ema = EMA(model, config)
    model.weight.data += 2
    return ema, model


def _averages_otherwise(average: Callable) -> bool:
    ema, model = _trial()
    try:
        average(ema, model)
    except RuntimeError:
        return True
    return bool(ema.model.weight != 3)


def _counts_from_the_start(step: Callable) -> bool:
    ema, model = _trial(frequency=2)
    averaged = []
    ema._step_internal = lambda *_: averaged.append(True)
    step(ema, model, 2)
    return not averaged


def _average(self: EMA, new_model: nn.Module, updates: Optional[int] = None) -> None:
    averages = self.fp32_params if self.config.ema_fp32 else self.model.state_dict()
    averaged = set()
    for name, weight in new_model.state_dict().items():
        average = averages.get(name)
        if not isinstance(average, Tensor) or average.data_ptr() in averaged:
            continue
        averaged.add(average.data_ptr())
        if name in self.skip_keys or not weight.is_floating_point():
            average.copy_(weight)
        else:
            average.mul_(self.decay).add_(weight.to(average.dtype), alpha=1 - self.decay)
    self.restore(averages)


def _by_the_number_of_the_update(counting: Callable) -> Callable:
    def step(self, new_model, updates=None):
        if updates is not None:
            self.update_freq_counter = (updates - 1) % self.config.ema_update_freq
        return counting(self, new_model, updates)

    return step
