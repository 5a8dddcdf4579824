"""Slots: the keys are averaged once for each feature, and a query mixes the averages.

    share_f = sum_j f(k_j)_f / sum_j sum_f f(k_j)_f
    out_i   = sum_f f(q_i)_f / share_f  sum_j f(k_j)_f v_j  /  sum_f f(q_i)_f / share_f  sum_j f(k_j)_f

over the visible keys. A feature that few keys have counts as much as one that many have: what is rare is found. It is
linear attention whose queries are divided by the shares, which a state knows anyway: the sums and their sizes are the
same.

Shape legend: B batch, T queries, S keys, H heads, F features.

Source:
    Slots that are each a softmax over the prefix: Peng et al., ABC: Attention with Bounded-memory Control, ACL 2022,
    section 3; a fixed-size memory: Britz, Guan, Luong, EMNLP 2017.
"""

from typing import Callable

import torch
from torch import Tensor

from leap_fairseq.attention.arguments import Arguments
from leap_fairseq.attention.checks import SMALLEST
from leap_fairseq.attention.inputs import slot_queries, sum_dtype, zero_padding
from leap_fairseq.attention.state import LinearAttentionState


def without_slots(given: Arguments, algorithm: Callable[[Arguments], Tensor]) -> Arguments:
    """The same attention as one that any algorithm knows.

    Args:
        given: the arguments, with slots.
        algorithm: by which the shares are computed, as the average of the keys' features.

    Returns:
        Arguments without slots.
    """
    dtype = sum_dtype(given.q.dtype)
    k = zero_padding(given.k, given.key_padding_mask).to(dtype)
    weight = k.sum(-1, keepdim=True)
    initial = given.initial_state
    if initial is not None:
        z = initial.z_state.unsqueeze(-2)
        initial = LinearAttentionState.computed(torch.cat((z, z.sum(-1, keepdim=True)), dim=-1))
    shares = algorithm(
        given._replace(
            q=k.new_ones(*given.q.shape[:3], 1),
            k=weight,
            v=k / weight.clamp(min=SMALLEST[dtype]),
            normalizer_floor=SMALLEST[dtype],
            initial_state=initial,
            slots=False,
        )
    )
    return given._replace(q=slot_queries(given.q, shares), slots=False)
