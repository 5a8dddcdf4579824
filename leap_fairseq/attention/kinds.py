"""The kinds of attention as one table: what differs between them is data.

A new feature map is a function in :mod:`leap_fairseq.attention.feature_maps` and an entry here; layers, options of
models and states ask this table, and nothing else compares the names.

Shape legend: K head dimension, F features.
"""

from dataclasses import dataclass
from typing import Callable, Dict, Optional

from torch import Tensor

from leap_fairseq.attention.feature_maps import elu_plus_one, relu


@dataclass(frozen=True)
class AttentionKind:
    """What makes an attention the one it is.

    Args:
        name: for options and checkpoints.
        feature_map: the non-negative f of linear attention, any shape to the same shape; None for softmax, which has no
            state of constant size.
        proportions: where P in cos(pi/2 (P_q - P_k)) comes from: "learned" (a LeaP network), "static" (the position
            over the maximum length), or None for no re-weighting.

    Source:
        leap: Agostinelli, Hong, Chen, LeaPformer, ICML 2024; cosformer: Qin et al., ICLR 2022.
    """

    name: str
    feature_map: Optional[Callable[[Tensor], Tensor]]
    proportions: Optional[str] = None

    @property
    def linear(self) -> bool:
        """Whether its state has the same size however many keys it holds."""
        return self.feature_map is not None

    @property
    def needs_length(self) -> bool:
        """Whether the maximum lengths of queries and keys must be known beforehand."""
        return self.proportions == "static"

    def state_features(self, head_dim: int) -> int:
        """F, the rows of its state: 2K where keys are re-weighted, else K.

        Args:
            head_dim: K.
        """
        return head_dim if self.proportions is None else 2 * head_dim


KINDS: Dict[str, AttentionKind] = {
    kind.name: kind
    for kind in (
        AttentionKind("leap", relu, "learned"),
        AttentionKind("cosformer", relu, "static"),
        AttentionKind("relu", relu),
        AttentionKind("elu", elu_plus_one),
        AttentionKind("softmax", None),
    )
}
