"""Linear attention over a visible prefix: the mathematics of the project, in torch alone.

Query i reads the first ``visible[i]`` keys. Schedules make ``visible``, feature maps and proportions make the
weights, and several algorithms with one signature compute the same sums.
"""

from leap_fairseq.attention.backend import ALGORITHMS, prefix_attention
from leap_fairseq.attention.feature_maps import elu_plus_one, hedgehog, relu
from leap_fairseq.attention.half_life import spread_half_lives
from leap_fairseq.attention.kinds import KINDS, AttentionKind
from leap_fairseq.attention.naive import attention_weights
from leap_fairseq.attention.proportions import LeapProportion, static_proportion
from leap_fairseq.attention.state import LinearAttentionState
from leap_fairseq.attention.visibility import (
    causal_visibility,
    full_visibility,
    segment_visibility,
    waitk_requirement,
    waitk_visibility,
)

__all__ = [
    "ALGORITHMS",
    "KINDS",
    "AttentionKind",
    "LeapProportion",
    "LinearAttentionState",
    "attention_weights",
    "causal_visibility",
    "elu_plus_one",
    "full_visibility",
    "hedgehog",
    "prefix_attention",
    "relu",
    "segment_visibility",
    "spread_half_lives",
    "static_proportion",
    "waitk_requirement",
    "waitk_visibility",
]
