"""The attention zoo of Long-Range Arena: the linear attentions of this project and the peers they are compared with.

One method a file, written from its paper's equations. There are packages of several, but with most of them the output
of a sequence depends on what else is in the batch: padding is among the landmarks, in a denominator or in a maximum.
"""

from leap_fairseq.modules.zoo.base import ZooAttention, ZooSizes
from leap_fairseq.modules.zoo.registry import ZOO_KINDS, ZooSpec

__all__ = ["ZOO_KINDS", "ZooAttention", "ZooSizes", "ZooSpec"]
