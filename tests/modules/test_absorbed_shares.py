"""How cross-attention divides between earlier and newest frames: from the states, as from the weights."""

import pytest
import torch

from leap_fairseq.attention import KINDS
from leap_fairseq.modules import MultiheadLinearAttention, MultiheadSoftmaxAttention, merge_attention

EARLIER, NEWEST, DIM, HEADS = 9, 4, 32, 4


def attention_of(kind):
    torch.manual_seed(1)
    if kind == "softmax":
        return MultiheadSoftmaxAttention(DIM, HEADS, encoder_decoder_attention=True).eval()
    lengths = {"max_query_positions": 50, "max_key_positions": 50}
    return MultiheadLinearAttention(DIM, HEADS, encoder_decoder_attention=True, attention=kind, **lengths).eval()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_shares_are_sums_of_weights(kind):
    attention, frames = attention_of(kind), torch.randn(EARLIER + NEWEST, 2, DIM)
    query, none = torch.randn(3, 2, DIM), torch.zeros(0, 2, DIM)
    if kind == "softmax":
        weights = attention(query, frames, frames, need_head_weights=True)[1]
    else:
        if getattr(attention, "contrast", None) is not None:
            attention.contrast.zero_()  # the shares leave it out
        weights = attention.weights(query.transpose(0, 1), frames.transpose(0, 1)).transpose(0, 1)
    expected = torch.stack([weights[..., :EARLIER].sum(-1), weights[..., EARLIER:].sum(-1)], -1)
    expected = expected / expected.sum(-1, keepdim=True)
    state = {}
    attention.absorb(frames[:EARLIER], state)
    attention.mark_source(state)
    for new in frames[EARLIER:].split(3):
        attention.absorb(new, state)
    out, shares = attention(query, none, none, incremental_state=state, need_head_weights=True)
    torch.testing.assert_close(shares, expected, atol=1e-5, rtol=1e-4)
    assert shares.min() < 0.65 < shares.max()


@pytest.mark.parametrize("kind", ["leap", "contrast", "softmax"])
@torch.no_grad()
def test_all_is_new_where_nothing_was_absorbed_before(kind):
    attention, frames, state = attention_of(kind), torch.randn(NEWEST, 1, DIM), {}
    query, none = torch.randn(1, 1, DIM), torch.zeros(0, 1, DIM)
    attention.mark_source(state)
    attention.absorb(frames, state)
    unmarked = {}
    attention.absorb(frames, unmarked)
    out, shares = attention(query, none, none, incremental_state=state, need_weights=True)
    torch.testing.assert_close(shares, torch.tensor([[[0.0, 1.0]]]))
    torch.testing.assert_close(out, attention(query, none, none, incremental_state=unmarked, need_weights=False)[0])


@pytest.mark.parametrize("kind", ["leap", "softmax"])
@torch.no_grad()
def test_beam_search_takes_what_was_marked_along(kind):
    """Of rows with differently many earlier frames."""
    attention, query, none, states = attention_of(kind), torch.randn(2, 1, DIM), torch.zeros(0, 1, DIM), []
    for earlier in (EARLIER, 1):
        states.append({})
        attention.absorb(torch.randn(earlier, 1, DIM), states[-1])
        attention.mark_source(states[-1])
    together = merge_attention(attention, states)
    attention.mark_source(together)
    expected = []
    for state in states:
        attention.absorb(torch.ones(NEWEST, 1, DIM), state)
        expected.append(attention(query, none, none, incremental_state=state)[1])
    attention.absorb(torch.ones(NEWEST, 2, DIM), together)
    attention.reorder_incremental_state(together, torch.tensor([1, 0, 1]))
    three = query.expand(-1, 3, -1), none.expand(-1, 3, -1)
    shares = attention(*three, three[1], incremental_state=together)[1]
    torch.testing.assert_close(shares, torch.cat([expected[row] for row in (1, 0, 1)]))


@torch.no_grad()
def test_weights_of_an_unmarked_source_are_refused():
    attention, state, none = attention_of("leap"), {}, torch.zeros(0, 1, DIM)
    attention.absorb(torch.randn(NEWEST, 1, DIM), state)
    with pytest.raises(ValueError, match="ask no weights"):
        attention(torch.randn(1, 1, DIM), none, none, incremental_state=state, need_weights=True)
