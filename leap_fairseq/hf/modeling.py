"""``leap_transformer_lm`` for transformers: the same numbers from the same weights, without fairseq.

Parameters carry fairseq's names. Shape legend: B batch, T tokens, C model dimension, V vocabulary.
"""

import functools
from typing import Optional, Union

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel, initialization
from transformers.modeling_outputs import CausalLMOutputWithPast

from leap_fairseq.attention import causal_visibility
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
    """Embeddings, layers and the output projection, by fairseq's names.

    Args:
        config: of the model.
    """

    def __init__(self, config: LeapLMConfig):
        super().__init__()
        self.config = config
        width, inner, outer, pad = config.hidden_size, config.embedding_size, config.output_size, config.pad_token_id
        self.embed_tokens = nn.Embedding(config.vocab_size, inner, pad)
        self.project_in_dim = nn.Linear(inner, width, bias=False) if inner != width else None
        self.embed_positions = None
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(config.max_positions + pad + 1, width, pad)
        self.layernorm_embedding = nn.LayerNorm(width) if config.normalize_embedding else None
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(LeapLayer(config) for _ in range(config.num_hidden_layers))
        self.layer_norm = nn.LayerNorm(width) if config.normalize_before and config.final_norm else None
        self.project_out_dim = nn.Linear(width, outer, bias=False) if outer != width else None
        self.output_projection = nn.Linear(outer, config.vocab_size, bias=False)

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


class LeapForCausalLM(PreTrainedModel, GenerationMixin):
    """A causal language model with linear attention, whose decoding state has a constant size.

    A text begins with ``</s>``, as it does in fairseq, and ends with it.

    Args:
        config: sizes and attention.

    Raises:
        ValueError: an attention or an activation that there is not, or sizes that do not fit the attention.
    """

    config_class = LeapLMConfig
    base_model_prefix = "decoder"
    main_input_name = "input_ids"
    # What was read cannot be taken back, so that nothing may be drafted.
    _is_stateful = True
    _tied_weights_keys = {"decoder.output_projection.weight": "decoder.embed_tokens.weight"}
    _no_split_modules = ["LeapLayer"]

    def __init__(self, config: LeapLMConfig):
        super().__init__(config)
        if config.activation_function not in ACTIVATIONS:
            raise ValueError(
                f"activation_function {config.activation_function!r} must be one of {', '.join(ACTIVATIONS)}"
            )
        self.decoder = LeapDecoder(config)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        # Otherwise generate would make a cache of keys and values.
        return False

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, LinearAttention):
            # transformers' own leaves what was loaded.
            for name, start in module.kind.learned.items():
                initialization.constant_(getattr(module, name), start)
        super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Module:
        """transformers' hook."""
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """transformers' hook."""
        self.decoder.embed_tokens = value

    def get_output_embeddings(self) -> nn.Module:
        """transformers' hook."""
        return self.decoder.output_projection

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """transformers' hook."""
        self.decoder.output_projection = new_embeddings

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Optional[Tensor] = None,
        cache: Optional[LeapCache] = None,
        labels: Optional[Tensor] = None,
        use_cache: Optional[bool] = None,
        logits_to_keep: int = 0,
        return_dict: Optional[bool] = None,
    ) -> Union[CausalLMOutputWithPast, tuple]:
        """Computes logits.

        Args:
            input_ids: int64 [B, T]; with a cache, the tokens behind those that it has read.
            attention_mask: [B, T], or with a column for each token that was read before too; 0 = padding, which may
                lie on either side. Padding tokens count as such without a mask too.
            cache: what an earlier call returned, or an empty one; it is brought up to date.
            labels: int64 [B, T], as ``input_ids``; -100 is left out of the loss.
            use_cache: whether to return a cache (default: in evaluation, as the configuration says).
            logits_to_keep: only those of so many last tokens; 0 for all.
            return_dict: False for a tuple.

        Returns:
            Logits [B, T, V], the cache, and with labels the loss.

        Raises:
            ValueError: another cache than ours, or a text beyond learned positions.
        """
        if cache is not None and not isinstance(cache, LeapCache):
            raise ValueError(f"cache must be a LeapCache, got {type(cache).__name__}: leave it out for a new one")
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if cache is None and use_cache:
            cache = LeapCache(self.config.num_hidden_layers)
        if attention_mask is not None:
            hidden = attention_mask[:, -input_ids.shape[1] :].eq(0)
            input_ids = input_ids.masked_fill(hidden, self.config.pad_token_id)
        features = self.decoder(input_ids, cache)
        logits = self.decoder.output_projection(features[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size)
        output = CausalLMOutputWithPast(loss=loss, logits=logits, cache=cache)
        return output.to_tuple() if return_dict is False else output
