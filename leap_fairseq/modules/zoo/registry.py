"""The attentions of the Long-Range Arena comparison by name: ours and their peers, behind one interface.

Every member is an encoder's self-attention in fairseq's shape, without incremental state, and gives a sequence the same
output whatever stands beside it in the batch.
"""

from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict

from torch import nn

from leap_fairseq.attention import KINDS
from leap_fairseq.modules.zoo.base import ZooSizes
from leap_fairseq.modules.zoo.bigbird import BigBirdAttention
from leap_fairseq.modules.zoo.informer import InformerAttention
from leap_fairseq.modules.zoo.leap import linear_attention, one_layer_leap
from leap_fairseq.modules.zoo.linformer import LinformerAttention
from leap_fairseq.modules.zoo.local import LocalAttention
from leap_fairseq.modules.zoo.nystromformer import NystromformerAttention
from leap_fairseq.modules.zoo.performer import PerformerAttention
from leap_fairseq.modules.zoo.reformer import ReformerAttention
from leap_fairseq.modules.zoo.skyformer import KernelizedAttention, SkyformerAttention
from leap_fairseq.modules.zoo.softmax import SoftmaxAttention

ZOO: Dict[str, Callable[..., nn.Module]] = {
    **{name: partial(linear_attention, name) for name, kind in KINDS.items() if kind.linear},
    "leap_one_layer": one_layer_leap,
    "softmax": SoftmaxAttention,
    "kernelized": KernelizedAttention,
    "skyformer": SkyformerAttention,
    "nystromformer": NystromformerAttention,
    "performer": PerformerAttention,
    "linformer": LinformerAttention,
    "informer": InformerAttention,
    "reformer": ReformerAttention,
    "bigbird": BigBirdAttention,
    "local": LocalAttention,
}
"""By name for ``--attention``, what makes a module of embed_dim, num_heads, sizes, dropout, q_noise, qn_block_size."""

ZOO_KINDS = tuple(ZOO)


@dataclass(frozen=True)
class ZooSpec:
    """The self-attention of an encoder, by its name in the zoo; layers build it as they build an ``AttentionSpec``.

    Args:
        kind: one of ``ZOO_KINDS``.
        sizes: of the attention.

    Raises:
        ValueError: an unknown kind.
    """

    kind: str
    sizes: ZooSizes

    def __post_init__(self):
        if self.kind not in ZOO:
            raise ValueError(f"unknown attention {self.kind!r}: choose --attention from {', '.join(ZOO_KINDS)}")

    def build(self, embed_dim: int, num_heads: int, self_attention: bool = True, **options) -> nn.Module:
        """Makes the module.

        Args:
            embed_dim, num_heads: of the model.
            self_attention: must be true.
            options: dropout, q_noise, qn_block_size.

        Raises:
            ValueError: not self-attention, or sizes that do not fit the kind.
        """
        if not self_attention:
            raise ValueError(f"{self.kind} of the zoo is self-attention of an encoder: it has no other keys")
        return ZOO[self.kind](embed_dim, num_heads, self.sizes, **options)
