"""The proportions of a sentence are those that its attentions used, and nothing else changes."""

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from tiny_models import make_speech_model, spread_proportions

from leap_fairseq.layers import LinearAttention
from leap_fairseq.speech import GlobalCmvn, fbank, train_vocabulary
from leap_fairseq.streaming import StreamingDetokenizer, StreamingTranslator
from leap_fairseq.streaming.proportions import collect_proportions

RATE = 16000
RATIO = 4
TEXTS = ["Ich möchte am Montag nach Köln fahren.", "Der Zug fährt um fünf Uhr ab, und ein Zimmer ist frei."] * 5
BLOCKS = ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 40, "unigram")
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


def translator(vocabulary, kinds=("leap",) * 3, lagging=3, max_len_b=12, **changes):
    """A translator with random weights that writes no </s> before its maximum length."""
    dictionary, model_file = vocabulary
    options = dict(zip(BLOCKS, kinds), waitk_lagging=str(lagging), fixed_pre_decision_ratio=RATIO, dropout=0.0)
    model = spread_proportions(make_speech_model(dictionary=dictionary, **options, **changes))
    model.decoder.output_projection.weight.data[dictionary.eos()] = 0
    cmvn = GlobalCmvn(np.full(80, 10.0, np.float32), np.full(80, 3.0, np.float32))
    return StreamingTranslator(model, dictionary, StreamingDetokenizer(model_file), cmvn, max_len_b=max_len_b)


def speech(ms=1500, segment_ms=40):
    """Noise in segments, and its rate."""
    samples = (np.random.default_rng(0).standard_normal(ms * RATE // 1000) * 0.1).astype(np.float32)
    size = segment_ms * RATE // 1000
    return [(samples[first : first + size], RATE) for first in range(0, len(samples), size)]


def same(found, expected, tolerance=0.0):
    """Whether numbers are those of a tensor."""
    expected = expected.detach().numpy()
    return found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=tolerance)


def run_at_once(stream, visible=None):
    """The tokens that were written, and all of the speech, as in training; each sees so many frames, if it is given."""
    samples = np.concatenate([samples for samples, _ in speech()])
    features = torch.from_numpy(stream.cmvn(fbank(samples)))[None]
    previous = torch.tensor([[2, *(step.token for step in stream.steps[:-1])]])
    with torch.no_grad():
        speech_of = stream.model.encoder(features, torch.tensor([features.shape[1]]))
        speech_of.update({} if visible is None else {"visible": [torch.tensor(visible)]})
        stream.model.decoder(previous, encoder_out=speech_of)


@pytest.fixture
def used(monkeypatch):
    """What each attention hands to the core, the lists of P_q and of P_k for each module: it knows nothing of hooks."""
    calls, mapped = {}, LinearAttention._mapped

    def spy(self, x, positions, side):
        features, proportion = mapped(self, x, positions, side)
        calls.setdefault(self, ([], []))[side].append(proportion)
        return features, proportion

    monkeypatch.setattr(LinearAttention, "_mapped", spy)
    return calls


@pytest.mark.parametrize("kind", ["leap", "cosformer"])
@pytest.mark.parametrize("lagging", [2, 100])
def test_values_are_those_of_the_attentions(vocabulary, used, kind, lagging):
    stream = translator(vocabulary, (kind,) * 3, lagging)
    model = stream.model
    found = collect_proportions(stream, speech())
    frames, tokens = 37 if lagging == 100 else min(37, (12 + lagging) * RATIO), 13
    assert len(stream.steps) == tokens == len(found.pieces) and found.kinds == (kind,) * 3
    assert found.delays == tuple(step.delay for step in stream.steps) and found.source_length == 1500
    assert (found.policy, found.decision_frames, found.frame_ms) == (f"wait-{lagging}", RATIO, 40)
    for layer, proportions in zip(model.encoder.transformer_layers, found.encoder):
        assert all(same(a, b[-1][0]) for a, b in zip(proportions, used[layer.self_attn]))
        assert proportions.query.shape == proportions.key.shape == (frames, 4)
    for layer, own, cross in zip(model.decoder.layers, found.decoder, found.cross):
        assert all(same(a, torch.cat(b, 1)[0]) for a, b in zip(own, used[layer.self_attn]))
        queries, keys = used[layer.encoder_attn]
        assert same(cross.query, torch.cat(queries, 1)[0])
        assert same(cross.key, keys[-1][0])
        assert own.query.shape == (tokens, 4) and cross.key.shape == (frames, 4)
    for proportions in (*found.encoder, *found.decoder, *found.cross):
        assert all(0 <= float(side.min()) and float(side.max()) <= 1 for side in proportions)


def test_step_by_step_equals_all_at_once_where_all_had_been_heard(vocabulary, used):
    for lagging, all_heard in ((100, True), (1, False)):
        stream = translator(vocabulary, lagging=lagging)
        found = collect_proportions(stream, speech())
        run_at_once(stream)
        at_once = [used[layer.encoder_attn][0][-1][0] for layer in stream.model.decoder.layers]
        close = [same(a.query, b, 1e-5) for a, b in zip(found.cross, at_once)]
        # The bottommost queries come before any cross-attention; those above have read encodings that were renewed.
        assert close == [True, all_heard]


def test_frames_encoded_once_have_the_proportions_of_training(vocabulary, used):
    stream = translator(vocabulary, lagging=1, encoder_visibility="segment")
    found = collect_proportions(stream, speech())
    tokens, model = len(stream.steps), stream.model
    used.clear()
    run_at_once(stream)
    groups = ([layer.self_attn for layer in model.encoder.transformer_layers], found.encoder)
    groups = [groups, ([layer.self_attn for layer in model.decoder.layers], found.decoder)]
    groups += [([layer.encoder_attn for layer in model.decoder.layers], found.cross)]
    for attentions, proportions in groups:
        for attention, (query, key) in zip(attentions, proportions):
            (query_at_once,), (key_at_once,) = used[attention]
            assert same(query, query_at_once[0], 1e-5) and same(key, key_at_once[0], 1e-5)
    assert found.encoder[0].key.shape[0] == found.cross[0].key.shape[0] == 37 and tokens == 13


def test_of_a_token_that_was_drafted_several_times_the_last_time_counts(vocabulary, used):
    waiting = translator(vocabulary, lagging="1-6", encoder_visibility="segment")
    stream = waiting.new_stream(waiting.policy.configured(policy="agreement"))
    found = collect_proportions(stream, speech())
    assert stream.decoder_steps > len(stream.steps) == 13
    used.clear()
    run_at_once(stream, [step.frames for step in stream.steps])
    for layer, own, cross in zip(stream.model.decoder.layers, found.decoder, found.cross):
        for attention, proportions in ((layer.self_attn, own), (layer.encoder_attn, cross)):
            assert all(same(a, b[-1][0], 1e-5) for a, b in zip(proportions, used[attention]))


def test_static_proportions_are_positions(vocabulary):
    found = collect_proportions(translator(vocabulary, ("relu", "softmax", "cosformer")), speech())
    assert found.encoder == found.decoder == () and len(found.cross) == 2
    assert same(found.cross[0].query[:, 1], torch.arange(13) / 60)
    assert same(found.cross[1].key[:, 3], torch.arange(37) / 100)


def test_the_translation_stays_and_no_hook_is_left(vocabulary):
    stream, alone = translator(vocabulary), translator(vocabulary)
    for samples, rate in speech():
        alone.push(samples, rate)
    alone.finish()
    for _ in range(2):
        collect_proportions(stream, speech())
        assert stream.steps == alone.steps
    with pytest.raises(ValueError, match="changed from"):
        collect_proportions(stream, [*speech(200), (np.zeros(100, np.float32), 8000)])
    assert not any(module._forward_hooks for module in stream.model.modules())


def test_errors(vocabulary):
    with pytest.raises(ValueError, match="are elu, relu, softmax, .*--decoder-cross-attention leap .* or cosformer"):
        collect_proportions(translator(vocabulary, ("relu", "elu", "softmax")), speech())
    with pytest.raises(ValueError, match="recording of 20 ms is too short"):
        collect_proportions(translator(vocabulary), speech(20))
