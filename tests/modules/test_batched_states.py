"""Cross-attention of streams that are computed together, each with the frames of its own sentence."""

from pathlib import Path

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.modules import ATTENTION_KINDS, AttentionSpec, merge_attention, mergeable, split_attention
from leap_fairseq.modules.absorbed_frames import AbsorbedFrames
from leap_fairseq.modules.batched_states import linear_attentions

FRAMES, TOKENS = (7, 0, 19, 3), (2, 0, 5, 1)
"""What each stream has absorbed, and the tokens it has written, before they are put together."""

PAGE = Path(__file__).parents[2] / "docs/streaming.md"
NO_FRAME = torch.zeros(0, 1, 16)
EACH_KIND = pytest.mark.parametrize("kind", ATTENTION_KINDS)


def make(kind):
    """A cross-attention."""
    torch.manual_seed(0)
    spec = AttentionSpec(kind, max_query_positions=50, max_key_positions=50)
    return spec.build(32, 4, encoder_decoder_attention=True, kdim=16, vdim=16).eval()


def attend(module, x, source, state):
    return module(x, source, source, incremental_state=state, need_weights=False)[0]


def streams(module):
    """A state for each stream, as far as it has come."""
    generator, states = torch.Generator().manual_seed(3), []
    for frames, tokens in zip(FRAMES, TOKENS):
        state = {}
        if frames:
            module.absorb(torch.randn(frames, 1, 16, generator=generator), state)
        if tokens:
            attend(module, torch.randn(tokens, 1, 32, generator=generator), NO_FRAME, state)
        states.append(state)
    return states


def together(module, states, x, pieces):
    """The outputs of tokens [T, B, C] of all streams, each behind the next frames [S, B, C] of theirs."""
    merged, outputs = merge_attention(module, states), []
    for token, piece in zip(x.split(1), pieces):
        module.absorb(piece, merged)
        outputs.append(attend(module, token, piece[:0], merged))
    split_attention(module, merged, states)
    return torch.cat(outputs)


def alone(module, state, x, pieces):
    """The same of one of them."""
    outputs = []
    for token, piece in zip(x.split(1), pieces):
        module.absorb(piece, state)
        outputs.append(attend(module, token, piece[:0], state))
    return torch.cat(outputs)


def inputs():
    pieces = [torch.randn(count, len(FRAMES), 16) for count in (0, 4, 0, 1)]
    return torch.randn(len(pieces), len(FRAMES), 32), pieces


@EACH_KIND
def test_streams_of_any_age_read_what_each_reads_alone(kind):
    """Before they are put together, in it, and behind it; one of them has nothing to read at first."""
    module = make(kind)
    (x, pieces), (later, next_pieces) = inputs(), inputs()
    states = streams(module)
    out = together(module, states, x, pieces)
    for row, (state, other) in enumerate(zip(states, streams(module))):
        mine = [piece[:, row : row + 1] for piece in pieces]
        assert_same(out[:, row : row + 1], alone(module, other, x[:, row : row + 1], mine), what=f"stream {row}")
        then = later[:, row : row + 1], [piece[:, row : row + 1] for piece in next_pieces]
        assert_same(alone(module, state, *then), alone(module, other, *then), what=f"stream {row} behind it")
    assert_same(out[0, 1], module.out_proj.bias, what="no frame yet")


def test_the_control_that_the_frames_of_the_others_are_seen(monkeypatch):
    """Rows padded to the longest, without a mask: a stream reads zeros as if they were frames."""
    module = make("softmax")
    (x, pieces), merge = inputs(), AbsorbedFrames.merge

    def padded(states):
        merged = merge(states)
        missing = [max(FRAMES) - each for each in FRAMES]
        rows = [row or (torch.zeros(4, 0, 8),) * 2 for row in merged.rows]
        pad = torch.nn.functional.pad
        filled = (tuple(pad(part, (0, 0, less, 0)) for part in row) for row, less in zip(rows, missing))
        return AbsorbedFrames(tuple(filled), merged.queries)

    monkeypatch.setattr(AbsorbedFrames, "merge", padded)
    out = together(module, streams(module), x, pieces)
    for row, state in enumerate(streams(module)):
        expected = alone(module, state, x[:, row : row + 1], [piece[:, row : row + 1] for piece in pieces])
        same = torch.allclose(out[:, row : row + 1], expected, atol=1e-3)
        assert same == (FRAMES[row] == max(FRAMES)), f"stream {row}"


@EACH_KIND
def test_beam_search_follows_rows_of_any_age(kind):
    """Also with other frames and ages than at the start of a hypothesis."""
    module, order = make(kind), torch.tensor([2, 0, 0, 3, 1])
    x, piece = torch.randn(1, 5, 32), torch.randn(2, 5, 16)
    merged = merge_attention(module, streams(module))
    module.reorder_incremental_state(merged, order)
    module.absorb(piece, merged)
    out = attend(module, x, piece[:0], merged)
    for row, number in enumerate(order.tolist()):
        one = slice(row, row + 1)
        expected = alone(module, streams(module)[number], x[:, one], [piece[:, one]])
        assert_same(out[:, one], expected, what=f"hypothesis {row}")


def test_a_stream_keeps_its_own_frames_and_no_others():
    """Nothing is copied to put streams together, and none holds the memory of another behind it."""
    module = make("softmax")
    states = streams(module)
    before = [module.get_state(state) or module.zero_state(1) for state in states]
    merged = merge_attention(module, states)
    assert all(a is b for a, b in zip(module.get_state(merged).rows, (state.rows[0] for state in before)))
    together(module, states, *inputs())
    for state, old, frames, tokens in zip(states, before, FRAMES, TOKENS):
        now = module.get_state(state)
        (key, value), old_row = now.rows[0], old.rows[0]
        assert key.shape == value.shape == (4, frames + 5, 8) and now.queries == tokens + 4
        assert key.untyped_storage().nbytes() == key.numel() * 4
        assert old.queries == tokens and (old_row[0].shape[1] if old_row else 0) == frames


def test_weights_of_streams_with_differently_many_frames():
    module = make("softmax")
    x, states = torch.randn(2, 4, 32), streams(module)
    merged = merge_attention(module, states)
    _, weights = module(x, *(torch.zeros(0, 4, 16),) * 2, incremental_state=merged)
    assert weights.shape == (4, 2, max(FRAMES))
    assert_same(weights.sum(-1), torch.tensor([[1.0], [0.0], [1.0], [1.0]]).expand(4, 2))
    for row, (state, frames) in enumerate(zip(streams(module), FRAMES)):
        _, expected = module(x[:, row : row + 1], NO_FRAME, NO_FRAME, incremental_state=state, need_head_weights=True)
        assert_same(weights[row : row + 1, :, :frames], expected.mean(0))


def test_a_part_that_was_replaced_is_found():
    """Attentions are looked up once, and a model may be changed: converted, or cut."""
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList(make("leap") for _ in range(3)), "alone": make("relu")})
    assert mergeable(model) and len(linear_attentions(model)) == 4
    model["layers"][1] = make("softmax")
    assert len(linear_attentions(model)) == 3
    model["layers"] = model["layers"][:1]
    assert linear_attentions(model) == [model["layers"][0], model["alone"]]
    model["alone"] = torch.nn.Sequential(torch.nn.Identity(), make("elu"))
    assert linear_attentions(model) == [model["layers"][0], model["alone"][1]]
    model["alone"] = AttentionSpec("softmax").build(32, 4, self_attention=True)
    assert not mergeable(model)


def test_wrong_use_is_named():
    module, source = make("softmax"), torch.randn(9, 4, 16)
    with pytest.raises(ValueError, match="the state has 4 rows, the input 3: give each batch its own"):
        module.absorb(source[:, :3], merge_attention(module, streams(module)))
    with pytest.raises(ValueError, match="streams of several ages read what they absorb: give no whole source"):
        attend(module, torch.randn(1, 4, 32), source, merge_attention(module, [{}] * 4))
    state = {}
    attend(module, torch.randn(1, 1, 32), source[:, :1], state)
    with pytest.raises(ValueError, match="this state has read a whole source"):
        merge_attention(module, [state, {}])
    with pytest.raises(ValueError, match="softmax self-attention keeps all keys .*: compute its streams one by one"):
        merge_attention(AttentionSpec("softmax").build(32, 4, self_attention=True), [{}, {}])


@pytest.mark.parametrize("kind", ["softmax", "hedgehog", "leap"])
@pytest.mark.parametrize("layers, heads, head_dim", [(2, 4, 32), (6, 4, 64)])
def test_the_page_says_what_a_sentence_keeps(kind, layers, heads, head_dim):
    module, state = AttentionSpec(kind).build(heads * head_dim, heads, encoder_decoder_attention=True), {}
    module.absorb(torch.randn(5 * 25, 1, heads * head_dim), state)
    held = module.get_state(state)
    tensors = held.rows[0] if kind == "softmax" else [held.state.kvz]
    (line,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if f"`{kind}`" in line.split(" | ")[0]]
    assert f"{layers * sum(x.numel() for x in tensors):,} (" in line
