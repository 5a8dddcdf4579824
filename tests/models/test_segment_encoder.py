"""The encoder that never encodes twice: frames by segments are frames at once, and a stream scores as training does."""

import pytest
import torch
from tiny_models import make_speech_model, spread_proportions
from tolerances import assert_same

from leap_fairseq.attention import KINDS
from leap_fairseq.layers import ConvSubsampler
from leap_fairseq.models.speech_encoder import EncoderState
from leap_fairseq.modules import ATTENTION_KINDS

LINEAR = [name for name, kind in KINDS.items() if kind.linear]
FADING = ["relu fading", "contrast fading", "contrast paced"]
SIMUL, OFFLINE = "leap_convtransformer_simul_trans_tiny", "leap_convtransformer_tiny"


def streaming_model(kind="leap", segment=3, arch=SIMUL, **changes):
    options = {"encoder_visibility": "segment", "encoder_segment": segment, "dropout": 0.0}
    if arch == SIMUL:
        options.update(fixed_pre_decision_ratio=segment, waitk_lagging="2")
    kind, _, fading = kind.partition(" ")
    if fading:
        options.update(encoder_attention_half_life="2-9", decoder_attention_half_life="3-20")
    if fading == "paced":
        options.update(encoder_attention_learned_pace=True, decoder_attention_learned_pace=True)
    for block in ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention"):
        options[block] = kind
    return spread_proportions(make_speech_model(arch, **{**options, **changes}))


def speech(frames, batch=1, seed=0):
    return torch.randn(batch, frames, 80, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def at_once(model, features):
    lengths = torch.full((features.shape[0],), features.shape[1])
    return model.encoder(features, lengths)["encoder_out"][0]


@torch.no_grad()
def by_pieces(model, features, cuts):
    """Frames and states of a stream that is cut at these features; the last piece may be empty."""
    state, frames, states = None, [], []
    pieces = list(torch.tensor_split(features, sorted(cuts), dim=1))
    for number, piece in enumerate(pieces):
        new, state = model.encode_segment(piece, state, last=number == len(pieces) - 1)
        frames.append(new)
        states.append(state)
    return torch.cat(frames), states


@pytest.mark.parametrize("kind", [*ATTENTION_KINDS, *FADING])
@pytest.mark.parametrize("length, segment", [(1, 3), (2, 1), (47, 3), (48, 3), (49, 3), (101, 7), (30, 25)])
def test_frames_by_segments_are_frames_at_once(kind, length, segment):
    model, features = streaming_model(kind, segment), speech(length, batch=2)
    expected = at_once(model, features)
    assert expected.shape[0] == -(-length // 4)
    each = 4 * segment
    cuts = {
        "one by one": range(each, length, each),
        "in pairs": range(2 * each, length, 2 * each),
        "frame by frame": range(1, length),
        "anywhere": [n for n in (1, 2, 5, 6, 20, 29, 64, 65, 99) if n < length],
        "whole": [],
        "with an empty piece": [length // 2, length // 2, length],
    }
    for name, where in cuts.items():
        frames, states = by_pieces(model, features, list(where))
        assert_same(frames, expected, what=name)
        assert states[-1].frames == expected.shape[0]
        for state in states[:-1]:
            assert state.frames % segment == 0


@pytest.mark.parametrize("arch", [SIMUL, OFFLINE])
@pytest.mark.parametrize("kind", [*ATTENTION_KINDS, *FADING])
def test_batch_with_padding_equals_alone(kind, arch):
    model, features, lengths = streaming_model(kind, 5, arch), speech(90, batch=3), [90, 33, 61]
    together = model.encoder(features, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = at_once(model, features[row : row + 1, :length])
        frames = together["encoder_out"][0][: len(alone), row : row + 1]
        assert_same(frames, alone)


def test_without_whole_segments_a_frame_is_older_in_a_batch():
    """The control: a longer utterance beside it makes its last segment longer."""
    model, features = streaming_model("relu fading", 5), speech(90, batch=2)
    model.encoder.fades = False
    together = model.encoder(features, torch.tensor([90, 33]))["encoder_out"][0][:9, 1:]
    assert not torch.allclose(together, at_once(model, features[1:, :33]), atol=1e-2)


def test_a_whole_utterance_does_not_fade():
    with pytest.raises(ValueError, match="--encoder-attention-half-life needs --encoder-visibility segment"):
        make_speech_model(OFFLINE, encoder_attention_half_life="8")


@pytest.mark.parametrize("kind", [*ATTENTION_KINDS, *FADING])
def test_a_frame_depends_on_nothing_behind_its_segment(kind):
    segment, model = 3, streaming_model(kind, 3)
    features = speech(60).requires_grad_()
    frames = model.encoder(features, torch.tensor([60]))["encoder_out"][0]
    for frame in (0, 2, 3, 8):
        (gradient,) = torch.autograd.grad(frames[frame].sum(), features, retain_graph=True)
        reached = gradient.abs().sum((0, 2)).nonzero().flatten()
        last = ((frame // segment + 1) * segment - 1) * 4
        assert reached.min() == 0 and reached.max() == last


def test_convolutions_padded_on_both_sides_do_not_stream():
    """The control: the subsampler of the other encoder reads ahead, so that its frames change."""
    model = streaming_model()
    other = ConvSubsampler(model.encoder.conv[0].out_channels)
    other.load_state_dict(model.encoder.conv.state_dict())
    features, lengths = speech(60), torch.tensor([60])
    whole = other(features, lengths)[0][:, :6]
    assert not torch.allclose(other(features[:, :22], torch.tensor([22]))[0], whole, atol=1e-3)
    whole = model.encoder.conv(features, lengths)[0][:, :6]
    torch.testing.assert_close(model.encoder.conv(features[:, :22], torch.tensor([22]))[0], whole)


@pytest.mark.parametrize("kind", [*LINEAR, *FADING])
def test_state_has_constant_size_and_stays_as_it_was(kind):
    model, features = streaming_model(kind), speech(400)
    _, states = by_pieces(model, features, range(12, 400, 12))
    assert len({numbers(state) for state in states[1:-1]}) == 1
    again, _ = model.encode_segment(features[:, 120:132], states[9])
    assert_same(again, at_once(model, features)[30:33])


def test_softmax_state_grows_but_old_states_stay():
    model, features = streaming_model("softmax"), speech(200)
    _, states = by_pieces(model, features, range(12, 200, 12))
    again, _ = model.encode_segment(features[:, 60:72], states[4])
    assert_same(again, at_once(model, features)[15:18])


def numbers(state: EncoderState) -> int:
    """How many numbers a state holds."""
    total = sum(x.numel() for x in (*state.carry, state.waiting))
    return total + sum(memory.state.kvz.numel() for memory in state.attention.values())


@pytest.mark.parametrize("cross", ATTENTION_KINDS)
@pytest.mark.parametrize("lagging, kind", [(1, "leap"), (3, "leap"), (2, "contrast fading")])
def test_a_stream_gives_the_probabilities_of_training(cross, lagging, kind):
    """Minus the loss of teacher forcing is what a session gives to the same tokens, absorbing each segment once."""
    ratio, length = 3, 77
    model = streaming_model(kind, ratio, decoder_cross_attention=cross, waitk_lagging=str(lagging))
    features, target = speech(length), torch.randint(4, 20, (1, 12), generator=torch.Generator().manual_seed(1))
    previous = torch.cat((torch.tensor([[2]]), target[:, :-1]), dim=1)
    with torch.no_grad():
        logits = model(features, torch.tensor([length]), previous)[0]
        expected = logits.log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze()
        state, memory, fed, absorbed, scores = None, {}, 0, 0, []
        for i in range(target.shape[1]):
            needed = (i + lagging) * ratio * 4 - 2
            new, state = model.encode_segment(features[:, fed:needed], state, last=needed >= length)
            fed = min(needed, length)
            if len(new):
                model.decoder.absorb(new, memory)
                absorbed += len(new)
            out = model.decoder(previous[:, : i + 1], incremental_state=memory)[0]
            scores.append(out[0, -1].log_softmax(-1)[target[0, i]])
    assert absorbed == 20 == state.frames
    torch.testing.assert_close(torch.stack(scores), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("cross", ATTENTION_KINDS)
@torch.no_grad()
def test_a_token_reads_all_that_was_absorbed(cross):
    """The schedule of wait-k shows 6 of the 9 frames: what is absorbed is up to the policy of the stream."""
    model, memory = streaming_model(decoder_cross_attention=cross), {}
    frames, previous = torch.randn(9, 1, 32), torch.tensor([[2]])
    model.decoder.absorb(frames[:4], memory)
    model.decoder.absorb(frames[4:], memory)
    out = model.decoder(previous, incremental_state=memory)[0]
    whole = {"encoder_out": [frames], "encoder_padding_mask": []}
    assert not torch.allclose(out, model.decoder(previous, encoder_out=whole)[0], atol=1e-4)
    model.decoder.waitk.set(3)
    assert_same(out, model.decoder(previous, encoder_out=whole)[0])


@pytest.mark.parametrize("cross", ATTENTION_KINDS)
@torch.no_grad()
def test_a_source_that_is_encoded_anew_is_forgotten_and_absorbed(cross):
    """The same as giving the whole source with each step; tokens written before it changed stay as they are."""
    model = streaming_model(decoder_cross_attention=cross)
    target, given, absorbed = torch.randint(4, 20, (1, 6), generator=torch.Generator().manual_seed(1)), {}, {}
    for i in range(1, 7):
        frames = torch.randn(3 * (i + 1), 1, 32, generator=torch.Generator().manual_seed(i))
        whole = {"encoder_out": [frames], "encoder_padding_mask": []}
        expected = model.decoder(target[:, :i], encoder_out=whole, incremental_state=given)[0]
        model.decoder.forget_source(absorbed)
        for piece in frames.split(4):
            model.decoder.absorb(piece, absorbed)
        assert_same(model.decoder(target[:, :i], incremental_state=absorbed)[0], expected, what=f"token {i}")


@pytest.mark.parametrize("cross", ["leap", "softmax"])
def test_a_source_is_given_whole_or_absorbed(cross):
    model, memory = streaming_model(decoder_cross_attention=cross), {}
    whole = {"encoder_out": [torch.randn(6, 1, 32)], "encoder_padding_mask": []}
    model.decoder(torch.tensor([[2]]), encoder_out=whole, incremental_state=memory)
    with pytest.raises(ValueError, match="has read a whole source: absorb its pieces from the start"):
        model.decoder.absorb(torch.randn(3, 1, 32), memory)


def test_wrong_segments_name_their_flags():
    with pytest.raises(ValueError, match="--encoder-segment 4 does not divide --fixed-pre-decision-ratio 6"):
        streaming_model(segment=4, fixed_pre_decision_ratio=6)
    with pytest.raises(ValueError, match="needs --encoder-segment of at least 1 encoder frame, not None"):
        make_speech_model(OFFLINE, encoder_visibility="segment")
    with pytest.raises(ValueError, match="train with --encoder-visibility segment"):
        make_speech_model().encode_segment(speech(10))
    assert make_speech_model(fixed_pre_decision_ratio=6, encoder_visibility="segment").encoder.segment == 6
