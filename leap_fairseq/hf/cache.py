"""What ``generate`` carries from token to token: the states of the attentions, of constant size."""

from typing import List, Optional

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from leap_fairseq.layers import LayerState


class LeapCacheLayer(CacheLayerMixin):
    """The state of one attention, None before its first token."""

    supports_early_init = False

    def __init__(self):
        super().__init__()
        self.state: Optional[LayerState] = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """transformers' hook; the attention makes its own state."""

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs):
        """transformers' hook.

        Raises:
            NotImplementedError: always: a state absorbs keys behind a feature map, in its attention.
        """
        raise NotImplementedError("the cache of linear attention holds no keys: it belongs to LeapForCausalLM alone")

    def get_seq_length(self) -> int:
        """How many tokens were read, padding included."""
        return 0 if self.state is None else self.state.queries

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """transformers' hook: length and offset of the mask."""
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        """-1: there is no maximum."""
        return -1

    def reset(self) -> None:
        """Forgets all."""
        self.state = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Follows beam search: row b continues row ``beam_idx[b]``; repeats, more rows and fewer are allowed."""
        if self.state is not None:
            self.state = self.state.reorder(beam_idx.to(self.state.positions.device))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Each row so many times."""
        if self.state is not None:
            rows = torch.arange(len(self.state.positions))
            self.reorder_cache(rows.repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps some rows."""
        self.reorder_cache(indices)

    def crop(self, tokens_to_remove: int) -> None:
        """transformers' hook.

        Raises:
            ValueError: always.
        """
        raise ValueError("the state of linear attention cannot be shortened: read the text again with a new LeapCache")


class LeapCache(Cache):
    """The states of all layers. Its size does not grow with the text.

    Args:
        num_hidden_layers: of the model.
    """

    layers: List[LeapCacheLayer]

    def __init__(self, num_hidden_layers: int):
        super().__init__(layers=[LeapCacheLayer() for _ in range(num_hidden_layers)])
