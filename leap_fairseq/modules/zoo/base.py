"""What the attentions of the zoo share: projections, padding that reaches nothing, random draws.

An attention of the zoo is an encoder's self-attention in fairseq's shape. It projects the silenced input, hands the
heads to ``attend``, the equations of the method, and projects the result. Every method is written so that padding on
the right does not change a sequence's output: where it samples, sorts or averages, it does so within the sequence.

Shape legend: B batch, T tokens, H heads, K head dimension, C model dimension.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Callable, Optional, Tuple

import torch
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.quant_noise import quant_noise
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from leap_fairseq.attention.checks import counted
from leap_fairseq.attention.inputs import sum_dtype, zero_padding


@dataclass(frozen=True)
class ZooSizes:
    """Sizes of the attentions; each kind uses those that it has a meaning for.

    Args:
        max_length: tokens of the longest sequence.
        features: random features of Performer, projected positions of Linformer, landmarks of Nystromformer and
            Skyformer, active queries of Informer at the longest length.
        block: tokens of a block of BigBird, of a chunk of Reformer, of a side of the local window.
        hashes: rounds of Reformer.
        random_blocks: of BigBird, for each block of queries.
        leap_factor: hidden width of the LeaP networks is K / leap_factor.
        normalizer_floor: the denominator of linear attention is at least this.

    Raises:
        ValueError: a size below 1 (random_blocks: below 0).
    """

    max_length: int
    features: int = 128
    block: int = 64
    hashes: int = 2
    random_blocks: int = 3
    leap_factor: int = 4
    normalizer_floor: float = 0.1

    def __post_init__(self):
        for name, least in (("max_length", 1), ("features", 1), ("block", 1), ("hashes", 1), ("random_blocks", 0)):
            if getattr(self, name) < least:
                flag = "--lra-max-length" if name == "max_length" else f"--attention-{name.replace('_', '-')}"
                raise ValueError(f"{name} {getattr(self, name)} must be at least {least}: set {flag}")


class ZooAttention(nn.Module, ABC):
    """Multi-head self-attention of an encoder; a subclass gives :meth:`attend`.

    Args:
        embed_dim: C, divisible by ``num_heads``.
        num_heads: H.
        sizes: of the method.
        dropout: probability that a weight is dropped, in the methods that have weights.
        q_noise, qn_block_size: fairseq's quantization noise on the projections.
        own_keys: whether there is a projection of keys; Reformer's are its queries.

    Raises:
        ValueError: embed_dim is not divisible by num_heads, or one of them is no whole number from 1.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        sizes: ZooSizes,
        dropout: float = 0.0,
        q_noise: float = 0.0,
        qn_block_size: int = 8,
        own_keys: bool = True,
    ):
        super().__init__()
        if counted("embed_dim", embed_dim, 1) % counted("num_heads", num_heads, 1):
            raise ValueError(f"embed_dim {embed_dim} is not divisible by {num_heads} attention heads")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.sizes = sizes
        self.dropout_module = FairseqDropout(dropout, module_name=self.__class__.__name__)

        def linear():
            return quant_noise(nn.Linear(embed_dim, embed_dim), q_noise, qn_block_size)

        self.q_proj, self.k_proj, self.v_proj = linear(), linear() if own_keys else None, linear()
        self.out_proj = linear()
        for projection in filter(None, (self.q_proj, self.k_proj, self.v_proj)):
            # As fairseq's MultiheadAttention.
            nn.init.xavier_uniform_(projection.weight, gain=1 / math.sqrt(2))
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    @abstractmethod
    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """The equations of the method.

        Args:
            q, k, v: [B, H, T, K], float32 at least, zero where padded; k is q where keys have no projection.
            valid: bool [B, T], True = token, False = padding; each row is True up to its length.

        Returns:
            [B, H, T, K], finite; anything where padded, zero for a sequence that is all padding.
        """

    def forward(
        self,
        query: Tensor,
        key: Optional[Tensor] = None,
        value: Optional[Tensor] = None,
        key_padding_mask: Optional[Tensor] = None,
        need_weights: bool = False,
        attn_mask: Optional[Tensor] = None,
    ) -> Tuple[Tensor, None]:
        """Attends within each sequence.

        Args:
            query: [T, B, C]; padding may hold anything, inf too.
            key, value: the queries, or None.
            key_padding_mask: [B, T], True = padding, on the right of each sequence; None for none.
            need_weights: not available: most of these methods never have the weights.
            attn_mask: not available: everything is seen.

        Returns:
            [T, B, C], and None for the weights.

        Raises:
            ValueError: another key, weights, a mask of pairs, or padding that is not on the right.
        """
        if key is not None and key is not query or value is not None and value is not query:
            raise ValueError(f"{type(self).__name__} is self-attention: key and value must be the query")
        if need_weights or attn_mask is not None:
            raise ValueError(f"{type(self).__name__} has neither weights to return nor a mask of pairs")
        x = query.transpose(0, 1)
        padding = check_padding(key_padding_mask)
        valid = torch.ones_like(x[..., 0], dtype=torch.bool) if padding is None else ~padding
        # Silenced before the projection: 0 * inf would otherwise reach the gradient of its weight.
        x = zero_padding(x, padding)
        q = self._split(self.q_proj(x), padding)
        k = q if self.k_proj is None else self._split(self.k_proj(x), padding)
        v = self._split(self.v_proj(x), padding)
        with torch.autocast(x.device.type, enabled=False):
            out = self.attend(q, k, v, valid)
        out = zero_padding(out.transpose(1, 2), padding).flatten(2).to(x.dtype)
        return self.out_proj(out).transpose(0, 1), None

    def drawn(self, draws: Tensor, draw: Callable[[Tensor], Tensor] = torch.rand_like) -> Tensor:
        """Random numbers: in training new ones, in evaluation those of a buffer.

        torch's generator, which draws them, is seeded by fairseq at every update. An evaluation draws nothing, so that
        its result does not depend on what ran before it.

        Args:
            draws: the buffer.
            draw: gives new ones of its shape.

        Returns:
            As many, float32 at least: a half type has few numbers between 0 and 1, and they would be few positions.
        """
        draws = draws.to(sum_dtype(draws.dtype))
        return draw(draws) if self.training else draws

    def _split(self, x: Tensor, padding: Optional[Tensor]) -> Tensor:
        heads = zero_padding(x, padding).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
        return heads.to(sum_dtype(x.dtype))


_ON_THE_RIGHT = WeakTensorKeyDictionary()
"""Masks that were looked at, and their versions: the layers of a model have the same, and to look waits for a GPU."""


def check_padding(key_padding_mask: Optional[Tensor]) -> Optional[Tensor]:
    """The mask as bool.

    Raises:
        ValueError: padding before a token.
    """
    if key_padding_mask is None:
        return None
    padding = key_padding_mask.to(torch.bool)
    # torch does not count changes in place in inference mode.
    version = None if padding.is_inference() else padding._version
    if version is not None and _ON_THE_RIGHT.get(padding) == version:
        return padding
    if bool((padding[:, :-1] & ~padding[:, 1:]).any()):
        raise ValueError("key_padding_mask has padding before a token: pad the sequences on the right")
    if version is not None:
        _ON_THE_RIGHT[padding] = version
    return padding


def masked_softmax(scores: Tensor, seen: Tensor) -> Tensor:
    """Softmax of finite scores over the last dimension among the seen; zeros, and finite gradients, without any."""
    weights = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1)
    return weights.masked_fill(~seen, 0)


def lengths_of(valid: Tensor) -> Tensor:
    """Tokens of each sequence, int64 [B], at least 1."""
    return valid.sum(1).clamp(min=1)


def drawn_positions(draws: Tensor, lengths: Tensor) -> Tensor:
    """Uniform numbers as positions within each sequence.

    Args:
        draws: [N] in [0, 1), float32 at least.
        lengths: int64 [B].

    Returns:
        int64 [B, N], below the lengths.
    """
    lengths = lengths.unsqueeze(1)
    return torch.minimum((draws * lengths).long(), lengths - 1)


def take(x: Tensor, positions: Tensor) -> Tensor:
    """The tokens [B, H, N, K] of x [B, H, T, K] at int64 [B, N]."""
    index = positions[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[-1])
    return x.gather(2, index)
