"""``leap_transformer_lm`` for transformers: the same numbers from the same weights, without fairseq.

Parameters carry fairseq's names. Shape legend: B batch, T tokens, V vocabulary.
"""

from typing import Optional, Union

from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel, initialization
from transformers.modeling_outputs import CausalLMOutputWithPast

from leap_fairseq.hf.adaptive import TransposedLinear, tied_names
from leap_fairseq.hf.cache import LeapCache
from leap_fairseq.hf.configuration import LeapLMConfig
from leap_fairseq.hf.decoder import ACTIVATIONS, POSITIONS, LeapDecoder
from leap_fairseq.layers import LinearAttention


class LeapForCausalLM(PreTrainedModel, GenerationMixin):
    """A causal language model with linear attention, whose decoding state has a constant size.

    A text begins with ``</s>``, as it does in fairseq, and ends with it. With an adaptive softmax, the logits are
    log-probabilities.

    Args:
        config: sizes and attention.

    Raises:
        ValueError: an attention, an activation or positions that there are not, or sizes that do not fit the attention.
    """

    config_class = LeapLMConfig
    base_model_prefix = "decoder"
    main_input_name = "input_ids"
    # What was read cannot be taken back, so that nothing may be drafted.
    _is_stateful = True
    _no_split_modules = ["LeapLayer"]

    def __init__(self, config: LeapLMConfig):
        super().__init__(config)
        for name, allowed in (("activation_function", ACTIVATIONS), ("positions", POSITIONS)):
            if getattr(config, name) not in allowed:
                raise ValueError(f"{name} {getattr(config, name)!r} must be one of {', '.join(allowed)}")
        self.decoder = LeapDecoder(config)
        self._tied_weights_keys = tied_names(config)
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
        if isinstance(module, TransposedLinear):
            initialization.normal_(module.weight, std=self.config.initializer_range)
        super()._init_weights(module)

    def resize_token_embeddings(self, *args, **kwargs) -> nn.Module:
        """transformers' own, for a vocabulary of another size.

        Raises:
            ValueError: embeddings or a softmax in bands, which end with the vocabulary of their training.
        """
        if self.config.input_cutoffs is not None or self.config.output_cutoffs is not None:
            raise ValueError(
                "adaptive embeddings and an adaptive softmax have the vocabulary of their training, and are not "
                "resized: take tokens that are there, or a model without them"
            )
        return super().resize_token_embeddings(*args, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        """transformers' hook."""
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """transformers' hook."""
        self.decoder.embed_tokens = value

    def get_output_embeddings(self) -> Optional[nn.Module]:
        """transformers' hook; an adaptive softmax has no single one."""
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
        logits = self.decoder.scores(features[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size)
        output = CausalLMOutputWithPast(loss=loss, logits=logits, cache=cache)
        return output.to_tuple() if return_dict is False else output
