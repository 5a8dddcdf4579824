"""Streams advanced in one call write what each writes alone, whenever each began."""

import pytest
import torch
from fairseq.data import Dictionary
from random_translator import HYBRID, TEXTS, noise, translator

from leap_fairseq.layers import linear_attention, state
from leap_fairseq.models import speech_encoder
from leap_fairseq.speech import NEXT_SENTENCE, train_vocabulary
from leap_fairseq.streaming import finish_batch, push_batch
from leap_fairseq.streaming.sentence import Sentence
from leap_fairseq.streaming.stream import Stream

TICK = 4000
"""Samples that each stream gets at a time: a quarter of a second."""

DURATIONS = (1900, 1000, 1900, 20, 700)
"""ms; the fourth is too short for a word."""

BEGINS = (0, 0, 3, 1, 5)
"""Ticks."""


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 60, "unigram", [NEXT_SENTENCE])
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


@pytest.fixture
def scores(monkeypatch):
    """The scores of every token that is chosen, for each sentence."""
    seen, choose = {}, Sentence.choose

    def noted(sentence, row, *others):
        seen.setdefault(id(sentence), (sentence, []))[1].append(row.clone())
        return choose(sentence, row, *others)

    monkeypatch.setattr(Sentence, "choose", noted)
    return lambda stream: torch.stack(seen[id(stream._sentence)][1]) if id(stream._sentence) in seen else None


def recordings(durations=DURATIONS):
    return [noise(ms, seed) for seed, ms in enumerate(durations)]


def run_alone(stream, sound):
    alone = stream.new_stream()
    words = [word for first in range(0, len(sound), TICK) for word in alone.push(sound[first : first + TICK])]
    return alone, words + alone.finish()


def run_together(stream, sounds, begins=BEGINS):
    """Each stream begins at its tick, and ends with the tick behind its last sound."""
    streams, words = [stream.new_stream() for _ in sounds], [[] for _ in sounds]

    def note(numbers, of_each):
        for number, new in zip(numbers, of_each):
            words[number] += new

    for tick in range(100):
        begun = [n for n, begin in enumerate(begins) if tick >= begin]
        heard = {n: sounds[n][(tick - begins[n]) * TICK :] for n in begun}
        going = [n for n, rest in heard.items() if len(rest)]
        note(going, push_batch([streams[n] for n in going], [heard[n][:TICK] for n in going]))
        over = [n for n in heard if n not in going and not streams[n].finished]
        note(over, finish_batch([streams[n] for n in over]))
    return streams, words


KINDS = {
    "leap": {},
    "relu": dict.fromkeys(("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention"), "relu"),
    "elu": dict.fromkeys(("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention"), "elu"),
    "cosformer": dict.fromkeys(
        ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention"), "cosformer"
    ),
    "half-life": {"encoder_attention_half_life": "3-40", "decoder_attention_half_life": "2-9"},
    "learned pace": {
        **{f"{side}_attention_half_life": "3-40" for side in ("encoder", "decoder")},
        **{f"{side}_attention_learned_pace": True for side in ("encoder", "decoder")},
    },
    "hybrid": HYBRID,
    "softmax decoder": {"decoder_self_attention": "softmax"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("visibility", ["segment", "full"])
def test_streams_of_any_age_write_what_they_write_alone(vocabulary, scores, kind, visibility):
    changes = dict(KINDS[kind])
    if visibility == "full":
        for name in ("encoder_attention_half_life", "encoder_attention_learned_pace"):
            changes.pop(name, None)
    stream = translator(vocabulary, 2, 4, max_len_b=18, visibility=visibility, endless=True, changes=changes)
    sounds = recordings()
    streams, words = run_together(stream, sounds)
    for sound, together, of_it in zip(sounds, streams, words):
        alone, expected = run_alone(stream, sound)
        assert [(w.text, w.sentence) for w in of_it] == [(w.text, w.sentence) for w in expected]
        assert [w.delay for w in of_it] == [w.delay for w in expected]
        assert together.steps == alone.steps and together.finished
        assert together.encoder_frames == alone.encoder_frames and together.decoder_steps == alone.decoder_steps
        if alone.steps:
            torch.testing.assert_close(scores(together), scores(alone), atol=2e-5, rtol=1e-4)
    assert [len(together.steps) > 5 for together in streams] == [True, True, True, False, True]


def test_the_control_that_one_age_for_all_is_wrong(vocabulary, scores, monkeypatch):
    """Positions are those of each stream; with those of the first, the scores are others."""
    stream = translator(vocabulary, 2, 4, visibility="segment", endless=True, changes=KINDS["cosformer"])
    sounds = recordings((2500, 2500))
    offset_of = state.as_offset
    for module in (linear_attention, speech_encoder):
        monkeypatch.setattr(
            module, "as_offset", lambda count, device: offset_of(count if isinstance(count, int) else count[0], device)
        )
    streams, _ = run_together(stream, sounds, (0, 3))
    first, second = (run_alone(stream, sound)[0] for sound in sounds)
    count = min(len(streams[1].steps), len(second.steps))
    torch.testing.assert_close(scores(streams[0]), scores(first), atol=2e-5, rtol=1e-4)
    assert not torch.allclose(scores(streams[1])[:count], scores(second)[:count], atol=1e-3)


@pytest.mark.parametrize("kind", ["leap", "hybrid"])
def test_the_long_form(vocabulary, kind):
    stream = translator(vocabulary, 2, 4, visibility="segment", long_form=True, changes=KINDS[kind])
    dictionary = vocabulary[0]
    with torch.no_grad():
        weight = stream.model.decoder.output_projection.weight
        weight[dictionary.index(NEXT_SENTENCE)] = weight[dictionary.eos()] = weight[4:].mean(0) * 3
    sounds = recordings((16000, 3000, 4000))
    streams, words = run_together(stream, sounds, (0, 2, 3))
    for sound, together, of_it in zip(sounds, streams, words):
        alone, expected = run_alone(stream, sound)
        assert of_it == expected and together.sentences == alone.sentences
    assert max(together.sentences for together in streams) >= 3


def test_a_stream_that_has_to_hear_more_is_asked_once(vocabulary, monkeypatch):
    asked, next_token = [], Stream.next_token
    monkeypatch.setattr(Stream, "next_token", lambda stream: asked.append(stream) or next_token(stream))
    stream = translator(vocabulary, 2, 4, visibility="segment", endless=True)
    writing, waiting = stream.new_stream(), stream.new_stream()
    push_batch([writing, waiting], recordings((1900, 100)))
    assert asked.count(waiting) == 1 and asked.count(writing) == len(writing.steps) + 1 > 5


@pytest.mark.parametrize("kind", ["leap", "hybrid"])
def test_the_model_is_called_once_for_all(vocabulary, monkeypatch, kind):
    stream = translator(vocabulary, 2, 4, visibility="segment", endless=True, changes=KINDS[kind])
    sounds, rows = recordings((1600,) * 5), {"encode": [], "decode": []}
    encode, decode = stream.model.encode_segment, stream.model.decoder.forward_block
    monkeypatch.setattr(
        stream.model, "encode_segment", lambda x, *a, **k: rows["encode"].append(len(x)) or encode(x, *a, **k)
    )
    monkeypatch.setattr(
        stream.model.decoder, "forward_block", lambda x, *a, **k: rows["decode"].append(len(x)) or decode(x, *a, **k)
    )
    streams, _ = run_together(stream, sounds, (0,) * 5)
    assert rows["decode"] == [5] * len(streams[0].steps) and set(rows["encode"]) == {5}
    rows["decode"].clear()
    run_together(stream, sounds, (0, 0, 4, 4, 4))
    assert max(rows["decode"]) == 5 and len(rows["decode"]) < 2 * len(streams[0].steps)


def test_wrong_use_is_named(vocabulary):
    stream, other = (translator(vocabulary, 2, 4, visibility="segment", seed=seed) for seed in (0, 1))
    with pytest.raises(ValueError, match="1 pieces of sound for 2 streams: give one for each"):
        push_batch([stream, stream.new_stream()], [noise(100)])
    with pytest.raises(ValueError, match="several models: only streams of one model"):
        push_batch([stream, other], [noise(100), noise(100)])
    softmax = translator(vocabulary, 2, 4, visibility="segment", changes=KINDS["softmax decoder"])
    with pytest.raises(ValueError, match="softmax self-attention keeps all keys of a stream: compute its streams"):
        softmax.model.decoder.merge_states([{}, {}])
    assert push_batch([], []) == []
