"""Which attention a block of a model uses, and how to build it."""

from dataclasses import dataclass
from typing import Optional

from torch import nn

from leap_fairseq.attention import KINDS, full_visibility
from leap_fairseq.attention.visibility import Schedule
from leap_fairseq.modules.multihead_linear_attention import MultiheadLinearAttention
from leap_fairseq.modules.multihead_softmax_attention import MultiheadSoftmaxAttention

ATTENTION_KINDS = tuple(KINDS)
"""What the options of a model offer."""


@dataclass(frozen=True)
class AttentionSpec:
    """The attention of one block of a model: encoder self-, decoder self- or decoder cross-attention.

    Args:
        kind: a key of :data:`leap_fairseq.attention.KINDS`.
        leap_factor: hidden width of the LeaP networks is K / leap_factor.
        normalizer_floor: the denominator of linear attention is at least this.
        schedule: how many keys each query sees.
        max_query_positions, max_key_positions: the maximum lengths, for a kind that needs them.
        half_life: in tokens, one for all heads or a range over them; see
            :func:`leap_fairseq.attention.spread_half_lives`. None to forget nothing.
        learned_pace: each token learns what it counts for in the ages of those before it.

    Raises:
        ValueError: an unknown kind, a half-life of softmax attention, or a pace without a half-life.
    """

    kind: str
    leap_factor: int = 4
    normalizer_floor: float = 0.1
    schedule: Schedule = full_visibility
    max_query_positions: Optional[int] = None
    max_key_positions: Optional[int] = None
    half_life: Optional[str] = None
    learned_pace: bool = False

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown attention kind {self.kind!r}: choose from {', '.join(KINDS)}")
        if self.half_life is not None and not KINDS[self.kind].linear:
            raise ValueError(
                f"half-life {self.half_life} needs linear attention, and {self.kind} has no state that fades: choose "
                "another attention, or leave --attention-half-life (of speech: that of the encoder or decoder) out"
            )

        if self.learned_pace and self.half_life is None:
            raise ValueError(
                "--attention-learned-pace needs half-lives, by which tokens fade: give --attention-half-life, too (of "
                "speech: those of the encoder or decoder), or leave it out"
            )

    def build(self, embed_dim: int, num_heads: int, **options) -> nn.Module:
        """Makes the module.

        Args:
            embed_dim, num_heads: of the model.
            options: what both modules take: kdim, vdim, dropout, self_attention, encoder_decoder_attention, q_noise,
                qn_block_size.

        Raises:
            ValueError: sizes that do not fit the kind; see :class:`MultiheadLinearAttention`.
        """
        if not KINDS[self.kind].linear:
            return MultiheadSoftmaxAttention(embed_dim, num_heads, schedule=self.schedule, **options)
        options.update({name: value for name, value in vars(self).items() if name != "kind"})
        return MultiheadLinearAttention(embed_dim, num_heads, attention=self.kind, **options)
