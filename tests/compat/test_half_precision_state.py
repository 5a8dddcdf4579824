"""The state of an optimizer for half precision has its float32 weights, and they are taken where they belong."""

from argparse import Namespace

import pytest
import torch
from fairseq.optim.amp_optimizer import AMPOptimizer
from fairseq.optim.dynamic_loss_scaler import DynamicLossScaler
from fairseq.optim.fp16_optimizer import _FP16OptimizerMixin

from leap_fairseq import compat

compat.apply()


def optimizer(values, flat=False, scaler=None):
    """Of weights of two shapes, with what of it is saved and loaded."""
    parts = [part.clone() for part in (values[:6].view(2, 3), values[6:])]
    masters = {0: torch.cat([part.flatten() for part in parts])} if flat else parts
    inner = Namespace(state_dict=lambda: {"state": {}}, load_state_dict=lambda state, overrides: None)
    rounded = [part.to(torch.bfloat16) for part in parts]
    return Namespace(fp32_params=masters, fp16_params=rounded, fp32_optimizer=inner, scaler=scaler)


def masters(of):
    values = of.fp32_params.values() if isinstance(of.fp32_params, dict) else of.fp32_params
    return torch.cat([value.flatten() for value in values])


@pytest.mark.parametrize("saved_flat, flat", [(False, False), (True, True), (True, False), (False, True)])
def test_weights_are_restored(saved_flat, flat):
    values = torch.randn(10)
    state = _FP16OptimizerMixin.state_dict(optimizer(values, saved_flat))
    # As fairseq builds it: from the rounded weights.
    resumed = optimizer(values.to(torch.bfloat16).float(), flat)
    _FP16OptimizerMixin.load_state_dict(resumed, state)
    assert torch.equal(masters(resumed), values)


@pytest.mark.parametrize("count", [10, 12])
def test_weights_of_another_model_are_left(count):
    state = _FP16OptimizerMixin.state_dict(optimizer(torch.randn(10)))
    other = torch.randn(count)
    resumed = optimizer(other)
    _FP16OptimizerMixin.load_state_dict(resumed, state)
    assert torch.equal(masters(resumed), other)


def test_a_checkpoint_from_before_is_loaded():
    values = torch.randn(10)
    resumed = optimizer(values, scaler=DynamicLossScaler(4))
    _FP16OptimizerMixin.load_state_dict(resumed, {"state": {}, "loss_scale": 16.0})
    assert torch.equal(masters(resumed), values) and resumed.scaler.loss_scale == 16


def test_a_scale_grows_when_it_would_have():
    scalers = [DynamicLossScaler(4, scale_window=5) for _ in range(2)]
    for _ in range(3):
        scalers[0].update()
    state = _FP16OptimizerMixin.state_dict(optimizer(torch.randn(10), scaler=scalers[0]))
    _FP16OptimizerMixin.load_state_dict(optimizer(torch.randn(10), scaler=scalers[1]), state)
    for _ in range(7):
        for scaler in scalers:
            scaler.update()
        assert vars(scalers[0]) == vars(scalers[1])
    assert scalers[0].loss_scale == 16


def test_the_scale_of_amp_is_saved():
    weight = torch.nn.Parameter(torch.zeros(2))
    saved, resumed = (torch.amp.GradScaler("cpu", init_scale=scale) for scale in (8.0, 2.0))
    sgd = torch.optim.SGD([weight], lr=0.1)
    state = AMPOptimizer.state_dict(Namespace(scaler=saved, optimizer=sgd))
    AMPOptimizer.load_state_dict(Namespace(scaler=resumed, optimizer=sgd), state)
    assert resumed.get_scale() == 8
