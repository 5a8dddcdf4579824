"""Plain layers of torch, batch first: attention that returns ``(output, state)``, and the subsampling of speech."""

from leap_fairseq.layers.linear_attention import LinearAttention
from leap_fairseq.layers.state import LayerState
from leap_fairseq.layers.subsampler import SUBSAMPLING, CausalConvSubsampler, ConvSubsampler

__all__ = ["SUBSAMPLING", "CausalConvSubsampler", "ConvSubsampler", "LayerState", "LinearAttention"]
