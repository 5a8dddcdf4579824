"""The layers in fairseq's shape: T x B x C, padding masks, incremental state, beam reordering."""

from leap_fairseq import compat  # noqa: F401  # imports fairseq, quietly; every other import of it comes after
from leap_fairseq.modules.attention_spec import ATTENTION_KINDS, AttentionSpec
from leap_fairseq.modules.batched_states import merge_attention, mergeable, split_attention
from leap_fairseq.modules.multihead_linear_attention import MultiheadLinearAttention
from leap_fairseq.modules.multihead_softmax_attention import MultiheadSoftmaxAttention
from leap_fairseq.modules.positions import position_rows
from leap_fairseq.modules.transformer_decoder import LeapTransformerDecoder
from leap_fairseq.modules.transformer_layers import LeapDecoderLayer, LeapEncoderLayer

__all__ = [
    "ATTENTION_KINDS",
    "AttentionSpec",
    "LeapDecoderLayer",
    "LeapEncoderLayer",
    "LeapTransformerDecoder",
    "MultiheadLinearAttention",
    "MultiheadSoftmaxAttention",
    "merge_attention",
    "mergeable",
    "position_rows",
    "split_attention",
]
