"""Causal attention on a GPU by the Triton kernels of flash-linear-attention, an optional extra (``leap_fairseq[gpu]``).

The kernels sum products of features over the past. They are called with scale 1 and without their own normaliser: the
denominator of this project, with its floor, comes from a column of ones beside the values. Half types go in as they
are, so that the tensor cores take them; in float32, the kernels may round products to TF32.

Source:
    https://github.com/fla-org/flash-linear-attention, ``fla.ops.linear_attn.chunk_linear_attn``.

Shape legend: B batch, T queries, S keys, H heads, F features, V value dimension.
"""

import functools
import logging

import torch
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
        logger.info("linear attention on the GPU: torch; pip install 'leap_fairseq[gpu]' makes it faster (%s)", error)
        return False
    return True


def worth_flash_linear(given: Arguments) -> bool:
    """Whether ``auto`` takes the kernels: they know the arguments, are there, and keep to the precision of the type.

    They round products of float32 to TF32, and their sums to the type of the inputs, where a long sequence is beyond
    float16; bfloat16 is left.
    """
    return given.q.device.type == "cuda" and given.q.dtype == torch.bfloat16 and _knows(given) and installed()


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
    # [B, T, H, F] again, in the type of the inputs.
    q, k, v = (x.transpose(1, 2).to(given.q.dtype).contiguous() for x in (queries, keys, values))
    initial = None if given.initial_state is None else given.initial_state.kvz
    sums, _ = chunk_linear_attn(q, k, v, scale=1.0, initial_state=initial, normalize=False)
    return normalise(sums.to(keys.dtype).transpose(1, 2), given.normalizer_floor, given.v.dtype)


def _knows(given: Arguments) -> bool:
    causal = torch.equal(given.visible.cpu(), torch.arange(1, given.k.shape[1] + 1))
    return causal and given.half_life is None
