"""A training in half precision is resumed with the float32 weights that it updates, and with its scale of the loss."""

from typing import Any, Callable, Dict, List

import torch
from fairseq.optim import AMPOptimizer, fp16_optimizer
from torch import Tensor

from leap_fairseq.compat.replacing import replace

MASTER_WEIGHTS, LOSS_SCALER = "master_weights", "loss_scaler"
"""Names of what is saved in the state of an optimizer, which torch's optimizers leave alone."""

COUNTS = ("loss_scale", "_iter", "_last_overflow_iter", "_last_rescale_iter", "_overflows_since_rescale")


def repair_half_precision_state() -> None:
    """Saves what an optimizer for half precision updates and counts.

    fairseq 0.12.2 saves the rounded weights alone, and of the scale of the loss its value, or with ``--amp`` nothing: a
    training with ``--fp16`` or ``--bf16`` goes on from rounded weights. A checkpoint gets 4 bytes a weight larger.
    """
    for optimizer in (
        fp16_optimizer._FP16OptimizerMixin,
        fp16_optimizer._MemoryEfficientFP16OptimizerMixin,
        AMPOptimizer,
    ):
        replace([optimizer], "state_dict", _with_the_rest)
        replace([optimizer], "load_state_dict", _taking_the_rest)


def _with_the_rest(state_dict: Callable) -> Callable:
    def whole_state_dict(self) -> Dict[str, Any]:
        state = state_dict(self)
        masters = _master_weights(self)
        if masters:
            state[MASTER_WEIGHTS] = torch.cat([weight.detach().flatten() for weight in masters])
        if hasattr(self.scaler, "state_dict"):
            state[LOSS_SCALER] = self.scaler.state_dict()
        elif self.scaler is not None:
            state[LOSS_SCALER] = {name: getattr(self.scaler, name) for name in COUNTS}
        return state

    return whole_state_dict


def _taking_the_rest(load_state_dict: Callable) -> Callable:
    def load_whole_state_dict(self, state_dict: Dict[str, Any], optimizer_overrides=None) -> None:
        load_state_dict(self, state_dict, optimizer_overrides)
        scaler = state_dict.get(LOSS_SCALER)
        if scaler and hasattr(self.scaler, "load_state_dict"):
            self.scaler.load_state_dict(scaler)
        elif scaler and self.scaler is not None and set(COUNTS) <= scaler.keys():
            vars(self.scaler).update((name, scaler[name]) for name in COUNTS)
        if MASTER_WEIGHTS in state_dict:
            _take_master_weights(_master_weights(self), state_dict[MASTER_WEIGHTS], self)

    return load_whole_state_dict


def _master_weights(optimizer: Any) -> List[Tensor]:
    """The float32 weights of an optimizer that has such, flat ones for each device or one for each weight."""
    weights = getattr(optimizer, "fp32_params", [])
    return list(weights.values()) if isinstance(weights, dict) else list(weights)


@torch.no_grad()
def _take_master_weights(masters: List[Tensor], saved: Tensor, optimizer: Any) -> None:
    if sum(weight.numel() for weight in masters) != saved.numel():
        return
    rounded = torch.cat([weight.flatten() for weight in optimizer.fp16_params])
    # The model may be another than that of the optimizer, or of another precision: then its weights are what there is.
    if not torch.equal(saved.to(rounded), rounded):
        return
    for weight, values in zip(masters, saved.split([weight.numel() for weight in masters])):
        weight.copy_(values.view_as(weight))
