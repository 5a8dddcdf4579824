"""The decoder of ``leap_transformer_lm`` in plain torch: embeddings, layers and output projection, by fairseq's names.

Shape legend: B batch, T tokens, C model dimension, V vocabulary.
"""

import functools
from typing import Optional, Union

import torch
from torch import Tensor, nn

from leap_fairseq.attention import causal_visibility
from leap_fairseq.hf.adaptive import AdaptiveEmbedding, AdaptiveSoftmax
from leap_fairseq.hf.cache import LeapCache, LeapCacheLayer
from leap_fairseq.hf.configuration import LeapLMConfig
from leap_fairseq.layers import LinearAttention
from leap_fairseq.layers.positions import sinusoids

ACTIVATIONS = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "gelu_accurate": functools.partial(nn.functional.gelu, approximate="tanh"),
    "gelu_fast": functools.partial(nn.functional.gelu, approximate="tanh"),
    "tanh": torch.tanh,
    "linear": nn.Identity(),
}
"""By the names of fairseq's ``--activation-fn``."""

POSITIONS = ("sinusoidal", "learned", "none")


class LeapLayer(nn.Module):
    """A layer of fairseq's transformer decoder, with linear attention.

    Args:
        config: of the model.
    """

    def __init__(self, config: LeapLMConfig):
        super().__init__()
        width = config.hidden_size
        self.self_attn = LinearAttention(
            *(width, config.num_attention_heads),
            dropout=config.attention_dropout,
            kind=config.attention,
            leap_factor=config.leap_factor,
            normalizer_floor=config.normalizer_floor,
            schedule=causal_visibility,
            max_query_positions=config.max_positions,
            max_key_positions=config.max_positions,
            half_life=config.half_life,
            learned_pace=config.learned_pace,
        )
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, config.intermediate_size), nn.Linear(config.intermediate_size, width)
        self.activation = ACTIVATIONS[config.activation_function]
        self.dropout, self.activation_dropout = nn.Dropout(config.dropout), nn.Dropout(config.activation_dropout)
        self.normalize_before = config.normalize_before

    def forward(self, x: Tensor, padding: Optional[Tensor], cache: Optional[LeapCacheLayer]) -> Tensor:
        """The layer.

        Args:
            x: [B, T, C].
            padding: bool [B, T], True = padding; None where there is none.
            cache: of this layer, which is brought up to date; None to compute a whole text.

        Returns:
            [B, T, C].
        """
        attend = functools.partial(self._attend, padding=padding, cache=cache)
        for block, norm in ((attend, self.self_attn_layer_norm), (self._feed_forward, self.final_layer_norm)):
            if self.normalize_before:
                x = x + self.dropout(block(norm(x)))
            else:
                x = norm(x + self.dropout(block(x)))
        return x

    def _attend(self, x: Tensor, padding: Optional[Tensor], cache: Optional[LeapCacheLayer]) -> Tensor:
        state = None
        if cache is not None:
            state = cache.state or self.self_attn.zero_state(x.shape[0])
        out, state = self.self_attn(x, key_padding_mask=padding, state=state)
        if cache is not None:
            cache.state = state
        return out

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation_dropout(self.activation(self.fc1(x))))


class LeapDecoder(nn.Module):
    """Embeddings, layers, and the output projection or adaptive softmax, by fairseq's names.

    Args:
        config: of the model.
    """

    def __init__(self, config: LeapLMConfig):
        super().__init__()
        self.config = config
        width, inner, outer, pad = config.hidden_size, config.embedding_size, config.output_size, config.pad_token_id
        adaptive = config.input_cutoffs is not None
        self.embed_tokens = AdaptiveEmbedding(config) if adaptive else nn.Embedding(config.vocab_size, inner, pad)
        self.project_in_dim = nn.Linear(inner, width, bias=False) if inner != width and not adaptive else None
        self.embed_positions = None
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(config.max_positions + pad + 1, width, pad)
        self.layernorm_embedding = nn.LayerNorm(width) if config.normalize_embedding else None
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(LeapLayer(config) for _ in range(config.num_hidden_layers))
        self.layer_norm = nn.LayerNorm(width) if config.normalize_before and config.final_norm else None
        self.project_out_dim = nn.Linear(width, outer, bias=False) if outer != width else None
        self.output_projection = self.adaptive_softmax = None
        if config.output_cutoffs is None:
            self.output_projection = nn.Linear(outer, config.vocab_size, bias=False)
        else:
            self.adaptive_softmax = AdaptiveSoftmax(config)

    def scores(self, features: Tensor) -> Tensor:
        """Logits [B, T, V] of features [B, T, output_size]; log-probabilities, with an adaptive softmax."""
        return (self.output_projection if self.adaptive_softmax is None else self.adaptive_softmax)(features)

    def forward(self, tokens: Tensor, cache: Optional[LeapCache]) -> Tensor:
        """Everything before the output projection.

        Args:
            tokens: int64 [B, T], those behind the tokens that the cache has read.
            cache: is brought up to date; None to compute a whole text.

        Returns:
            [B, T, output_size].
        """
        padding = tokens.eq(self.config.pad_token_id)
        first = None if cache is None else cache.layers[0].state
        x = self._embed(tokens, padding, 0 if first is None else first.positions.unsqueeze(1))
        padding = padding if bool(padding.any()) else None
        for index, layer in enumerate(self.layers):
            x = layer(x, padding, None if cache is None else cache.layers[index])
        if self.layer_norm is not None:
            x = self.layer_norm(x)
        return x if self.project_out_dim is None else self.project_out_dim(x)

    def _embed(self, tokens: Tensor, padding: Tensor, seen: Union[int, Tensor]) -> Tensor:
        config = self.config
        x = config.embedding_scale * self.embed_tokens(tokens)
        if self.project_in_dim is not None:
            x = self.project_in_dim(x)
        if config.positions != "none":
            # A token's number counts no padding.
            pad = config.pad_token_id
            numbers = torch.where(padding, pad, seen + (~padding).cumsum(1) + pad)
            x = x + self._positions(numbers).to(x)
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        return self.dropout(x)

    def _positions(self, numbers: Tensor) -> Tensor:
        config = self.config
        if self.embed_positions is None:
            return sinusoids(numbers, config.hidden_size, config.pad_token_id)
        if int(numbers.max()) >= self.embed_positions.num_embeddings:
            raise ValueError(
                f"the text has more than the {config.max_positions} tokens for which this model has learned "
                "positions: give less, or a model that was trained without --decoder-learned-pos"
            )
        return self.embed_positions(numbers)
