"""The one table of tolerances, by type. Never loosened locally."""

import torch

ABSOLUTE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def assert_same(actual, expected, dtype=None, what=""):
    """Fails unless both are finite and equal within the tolerance of their type.

    The tolerance is relative to the largest magnitude of the expected tensor where that is above 1: the rounding of
    a sum scales with its largest terms, not with what remains after they cancel.
    """
    actual, expected = actual.detach(), expected.detach()
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    tolerance = ABSOLUTE[dtype or expected.dtype] * scale
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)} != {tuple(expected.shape)}"
    assert torch.isfinite(actual).all(), f"{what}: not finite"
    torch.testing.assert_close(actual.double(), expected.double(), atol=tolerance, rtol=0, msg=lambda m: f"{what}: {m}")
