"""The kinds of attention as one table: what differs between them is data.

A new feature map is a function in :mod:`leap_fairseq.attention.feature_maps` and an entry here; layers, options of
models and states ask this table, and nothing else compares the names.

Shape legend: K head dimension, F features.
"""

from dataclasses import dataclass
from typing import Callable, Dict, Optional

from torch import Tensor

from leap_fairseq.attention.feature_maps import elu_plus_one, hedgehog, relu


@dataclass(frozen=True)
class AttentionKind:
    """What makes an attention the one it is.

    Args:
        name: for options and checkpoints.
        feature_map: the non-negative f of linear attention, [..., H, K] to [..., H, width * K]; None for softmax, which
            has no state of constant size.
        proportions: where P in cos(pi/2 (P_q - P_k)) comes from: "learned" (a LeaP network), "static" (the position
            over the maximum length), or None for no re-weighting.
        width: how many features the map makes of each dimension of a head.
        contrast: how much of what every query reads is taken away, where that is learned by head: where it begins; see
            :mod:`leap_fairseq.attention.contrast`.
        slots: keys are averaged for each feature; see :mod:`leap_fairseq.attention.slots`.
        scale: of a map with a learned scale for each head, f(x, scale): where the scales begin; None: f(x) of queries
            that are scaled by K**-0.5.

    Source:
        leap: Agostinelli, Hong, Chen, LeaPformer, ICML 2024; cosformer: Qin et al., ICLR 2022; hedgehog: Zhang et al.,
        ICLR 2024.
    """

    name: str
    feature_map: Optional[Callable[..., Tensor]]
    proportions: Optional[str] = None
    width: int = 1
    scale: Optional[float] = None
    contrast: Optional[float] = None
    slots: bool = False

    @property
    def linear(self) -> bool:
        """Whether its state has the same size however many keys it holds."""
        return self.feature_map is not None

    @property
    def needs_length(self) -> bool:
        """Whether the maximum lengths of queries and keys must be known beforehand."""
        return self.proportions == "static"

    @property
    def learned(self) -> Dict[str, float]:
        """What each head learns of it: parameters [H] by name, and where they begin."""
        starts = {"q_scale": self.scale, "k_scale": self.scale, "contrast": self.contrast}
        return {name: start for name, start in starts.items() if start is not None}

    def mapped(self, x: Tensor, scale: Optional[Tensor]) -> Tensor:
        """Queries or keys behind the feature map.

        Args:
            x: [..., H, K]; queries of a kind without a learned scale come scaled by K**-0.5.
            scale: [H], read by a kind with a learned scale alone.

        Returns:
            [..., H, width * K], >= 0.
        """
        return self.feature_map(x) if self.scale is None else self.feature_map(x, scale)

    def state_features(self, head_dim: int) -> int:
        """F, the rows of its state: the features of a key, twice where keys are re-weighted.

        Args:
            head_dim: K.
        """
        return self.width * head_dim * (1 if self.proportions is None else 2)


KINDS: Dict[str, AttentionKind] = {
    kind.name: kind
    for kind in (
        AttentionKind("leap", relu, "learned"),
        AttentionKind("cosformer", relu, "static"),
        AttentionKind("relu", relu),
        AttentionKind("elu", elu_plus_one),
        AttentionKind("hedgehog", hedgehog, width=2, scale=1.0),
        AttentionKind("leap_hedgehog", hedgehog, "learned", width=2, scale=1.0),
        AttentionKind("contrast", hedgehog, width=2, scale=1.0, contrast=0.5),
        AttentionKind("slots", hedgehog, width=2, scale=1.0, slots=True),
        AttentionKind("softmax", None),
    )
}
