"""Streams that are computed together: the states of all attentions of a model, a row for each stream.

Linear attention allows it at no cost: its state has the same size however long a stream has been going on. Softmax
cross-attention keeps the frames of each stream as they are. Softmax self-attention does not join in.
"""

from typing import Any, Dict, List, MutableMapping, Optional, Sequence
from weakref import WeakKeyDictionary

from torch import nn

from leap_fairseq.modules.multihead_linear_attention import MultiheadLinearAttention
from leap_fairseq.modules.multihead_softmax_attention import MultiheadSoftmaxAttention
from leap_fairseq.modules.source_memory import check_absorbing

_PLACES: MutableMapping[nn.Module, List[List[str]]] = WeakKeyDictionary()
"""Of the attentions of a module: streams ask at each token, and a walk through a model takes as long as some layers."""


def _attentions(module: nn.Module) -> List[nn.Module]:
    kinds = (MultiheadLinearAttention, MultiheadSoftmaxAttention)
    attentions = [_part(module, place) for place in _PLACES.get(module, [[]])]
    # The first time, and where a part was replaced by something else.
    if not all(isinstance(attention, kinds) for attention in attentions):
        found = {name: part for name, part in module.named_modules() if isinstance(part, kinds)}
        _PLACES[module], attentions = [name.split(".") for name in found], list(found.values())
    return attentions


def _part(module: Optional[nn.Module], place: List[str]) -> Optional[nn.Module]:
    for name in place:
        module = None if module is None else module._modules.get(name)
    return module


def mergeable(module: nn.Module) -> bool:
    """Whether every self-attention of a model or a part of it is linear; they are looked up once."""
    return all(attention.kind.linear or attention.encoder_decoder_attention for attention in _attentions(module))


def merge_attention(module: nn.Module, states: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """The states of all attentions, of several streams in one.

    Args:
        module: an encoder or decoder.
        states: fairseq's dictionaries, one for each stream, which may have been going on differently long.

    Raises:
        ValueError: a self-attention is not linear, or a stream was given a whole source instead of its pieces.
    """
    if not mergeable(module):
        raise ValueError("softmax self-attention keeps all keys of a stream: compute its streams one by one")
    merged: Dict[str, Any] = {}
    for attention in _attentions(module):
        for state in states:
            check_absorbing(attention.get_source(state))
        rows = [attention.get_state(state) or attention.zero_state(1) for state in states]
        attention.set_state(merged, type(rows[0]).merge(rows))
    return merged


def split_attention(module: nn.Module, merged: Dict[str, Any], states: Sequence[Dict[str, Any]]) -> None:
    """The reverse of :func:`merge_attention`, after any number of steps: brings the streams' states up to date."""
    for attention in _attentions(module):
        together = attention.get_state(merged)
        for number, state in enumerate(states):
            attention.set_state(state, together.row(number))


def linear_attentions(module: nn.Module) -> List[MultiheadLinearAttention]:
    """All linear attentions of a model or a part of it, in the order of its parts; they are looked up once."""
    return [attention for attention in _attentions(module) if attention.kind.linear]
