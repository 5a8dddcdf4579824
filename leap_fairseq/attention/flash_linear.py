"""Causal attention on a GPU by the Triton kernels of flash-linear-attention, an optional extra (``leap_fairseq[gpu]``).

The kernels sum products of features over the past. They are called with scale 1 and without their own normaliser: the
denominator of this project, with its floor, comes from a column of ones beside the values. Half types go in as they
are, so that the tensor cores take them; in float32, the kernels may round products to TF32. They round sums to the type
of the inputs, where a long sequence is beyond float16, and the first call tries variants for minutes: ``auto`` leaves
them to those who ask for them.

Source:
    https://github.com/fla-org/flash-linear-attention, ``fla.ops.linear_attn.chunk_linear_attn``.

Shape legend: B batch, T queries, S keys, H heads, F features, V value dimension.
"""

import functools
import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from leap_fairseq.attention.arguments import Arguments
from leap_fairseq.attention.inputs import key_side, normalise, query_side

logger = logging.getLogger(__name__)


@functools.cache
def installed() -> bool:
    """Whether the kernels can be imported; says once where they cannot."""
    try:
        import fla.ops.linear_attn  # noqa: F401
    except ImportError as error:
        logger.info("algorithm \"fla\" is not there (%s): pip install 'leap_fairseq[gpu]'", error)
        return False
    return True


def flash_linear(given: Arguments) -> Tensor:
    """Computes :func:`leap_fairseq.attention.prefix_attention` in O(T) for causal visibility.

    Raises:
        ValueError: another visibility, a half-life, or flash-linear-attention is not installed.
    """
    if not _knows(given):
        raise ValueError(
            'algorithm "fla" is for causal attention, where query i sees i + 1 keys, without half-life: choose "auto"'
        )
    try:
        from fla.ops.linear_attn import chunk_linear_attn
    except ImportError as error:
        raise ValueError(
            f"algorithm \"fla\" needs flash-linear-attention ({error}): pip install 'leap_fairseq[gpu]'"
        ) from error
    keys, values = key_side(given.k, given.v, given.key_proportion, given.key_padding_mask)
    queries = query_side(given.q, given.query_proportion)
    # In half types, the kernels of the way back take an even number of columns alone.
    width, odd = values.shape[-1], values.shape[-1] % 2
    values = F.pad(values, (0, odd))
    # [B, T, H, F] again, in the type of the inputs.
    q, k, v = (x.transpose(1, 2).to(given.q.dtype).contiguous() for x in (queries, keys, values))
    initial = None if given.initial_state is None else F.pad(given.initial_state.kvz, (0, odd))
    sums, _ = chunk_linear_attn(q, k, v, scale=1.0, initial_state=initial, normalize=False)
    return normalise(sums[..., :width].to(keys.dtype).transpose(1, 2), given.normalizer_floor, given.v.dtype)


def _knows(given: Arguments) -> bool:
    causal = torch.equal(given.visible.cpu(), torch.arange(1, given.k.shape[1] + 1, device="cpu"))
    return causal and given.half_life is None
