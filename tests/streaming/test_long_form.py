"""Speech without end: sentence after sentence, in memory that does not grow, whatever the words."""

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from random_translator import HYBRID, TEXTS, noise, translate, translator

from leap_fairseq.speech import NEXT_SENTENCE, fbank, train_vocabulary
from leap_fairseq.speech.pauses import find_pauses
from leap_fairseq.streaming.sentence import BEFORE, EVEN


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 60, "unigram", [NEXT_SENTENCE])
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


def long_form(vocabulary, eager=1.0, **options):
    """A translator with random weights that ends sentences; the more eager, the sooner."""
    stream = translator(vocabulary, visibility="segment", long_form=True, **{"ratio": 4, "lagging": 2, **options})
    dictionary = vocabulary[0]
    with torch.no_grad():
        weight = stream.model.decoder.output_projection.weight
        weight[dictionary.index(NEXT_SENTENCE)] = weight[dictionary.eos()] = weight[4:].mean(0) * eager
    return stream


def test_sentences_follow_each_other_and_do_not_depend_on_the_segments(vocabulary):
    stream, samples = long_form(vocabulary, eager=3.0), noise(12000)
    expected = translate(stream, samples, 160)
    sentences = [word.sentence for word in expected]
    assert stream.sentences >= 3 and sentences == sorted(sentences) and len(set(sentences)) >= 3
    for segment in (40, 333, None):
        words = translate(stream, samples, segment)
        assert [(w.text, w.sentence) for w in words] == [(w.text, w.sentence) for w in expected], segment


def test_a_sentence_is_translated_as_if_it_were_alone(vocabulary):
    """The second sentence of a stream has the words of a stream that begins where it begins."""
    stream, samples = long_form(vocabulary, eager=3.0), noise(12000)
    words = translate(stream, samples, 160)
    begins = first_frames(stream, samples)
    assert begins[0] == 0 and len(begins) >= 3
    for number in (1, 2):
        alone = translate(stream, samples[begins[number] * 640 :], 160)
        second = [word.text for word in words if word.sentence == number]
        assert [word.text for word in alone if word.sentence == 0] == second


def first_frames(stream, samples):
    """Where each sentence began."""
    stream.reset()
    begins = [0]
    for first in range(0, len(samples), 640):
        stream.push(samples[first : first + 640])
        if stream._sentence.first_frame != begins[-1]:
            begins.append(stream._sentence.first_frame)
    return begins


def test_the_end_of_speech_is_the_most_probable_pause(vocabulary):
    """The batched scores are those of each candidate alone, in the form of training."""
    stream = long_form(vocabulary, endless=True)
    stream.push(noise(5000))
    sentence = stream._sentence
    frames, scores, ends = torch.cat(sentence.source.kept), {}, [5, 17, 44, 60, 99]
    for end in [*ends, len(frames)]:
        target = torch.tensor([*sentence.tokens, 2])
        speech = {"encoder_out": [frames[:end]], "encoder_padding_mask": []}
        with torch.no_grad():
            logits = stream.model.decoder(torch.tensor([[2, *sentence.tokens]]), encoder_out=speech)[0][0]
        scores[end] = float(logits.log_softmax(-1).gather(-1, target[:, None]).sum())
    assert len(sentence.tokens) > 10
    found = sentence._most_probable_end([(end, 4 * end + EVEN) for end in ends], len(frames))
    assert scores[found] == pytest.approx(max(scores.values()), abs=1e-4)
    assert max(scores.values()) > min(scores.values()) + 1e-2


@pytest.mark.parametrize(
    "first, second, more, expected",
    [
        pytest.param(24, 60, 0.0, 17, id="a long pause, read on into the next sentence"),
        pytest.param(24, 24, 0.0, 40, id="short ones are within the sentence"),
        pytest.param(60, 31, 0.0, 5, id="the longer one"),
        pytest.param(24, 60, 1.0, 40, id="what was heard behind it counts"),
    ],
)
def test_a_longer_pause_is_the_likelier_end(vocabulary, monkeypatch, first, second, more, expected):
    """Where the model has no opinion; and speech behind a pause is part of the sentence that needs it."""
    stream = long_form(vocabulary, endless=True)
    stream.push(noise(5000))
    scores = torch.zeros(41).index_fill(0, torch.tensor(40), more)
    monkeypatch.setattr(stream._sentence, "_score", lambda _, ends: scores[ends])
    assert stream._sentence._most_probable_end([(5, 20 + first), (17, 68 + second)], 40) == expected


def with_pauses(*parts):
    """Noise and silence in turn, of so many ms each."""
    quiet = np.random.default_rng(9).standard_normal(sum(parts) * 16).astype(np.float32) * 1e-4
    at = 0
    for number, ms in enumerate(parts):
        if number % 2 == 0:
            quiet[at * 16 : (at + ms) * 16] += noise(ms, number)
        at += ms
    return quiet


def test_pauses_are_found():
    features = fbank(with_pauses(2000, 300, 1000, 150, 800, 500, 700, 400))
    found = [(first / 100, end / 100) for first, end in find_pauses(features)]
    assert [pytest.approx(pair, abs=0.04) for pair in ((2.0, 2.3), (4.25, 4.75), (5.45, 5.85))] == found
    assert find_pauses(features[:10]) == []


def test_a_sentence_begins_where_speech_begins(vocabulary):
    """Whatever the lengths of the pauses, silence is neither part of a sentence nor kept."""
    stream = long_form(vocabulary, eager=-1.0, endless=True, max_len_b=3)
    samples = with_pauses(1500, 400, 1500, 30000, 1500, 500)
    begins = first_frames(stream, samples)
    speech = [0, 1900, 33400]
    assert [min(begins, key=lambda frame: abs(frame * 40 - ms)) * 40 for ms in speech] == [
        pytest.approx(ms, abs=80) for ms in speech
    ]
    assert stream.encoder_frames < 6000 / 40


def test_the_first_sentence_begins_where_speech_begins_too(vocabulary):
    """Its tokens are those of speech without the silence; wait-2 of 160 ms would write two before there is speech."""
    gated, control = (long_form(vocabulary, endless=True, max_len_b=8, speech_gate=gate) for gate in (True, False))

    def tokens(stream, silence, segment):
        translate(stream, np.concatenate([np.zeros(silence * 640, np.float32), noise(1500)]), segment)
        return [(step.token, step.frames) for step in stream.steps]

    expected = tokens(gated, BEFORE + 1, 160)
    assert len(expected) == 9
    for segment in (40, 333, None):
        assert tokens(gated, 15, segment) == expected
    assert tokens(control, 15, 160) != expected


@pytest.mark.parametrize("speech", [1600, 1920])
def test_a_sentence_that_ends_in_a_pause_does_not_take_the_next_one_along(vocabulary, speech):
    """The decoder reads 13 decisions, 2080 ms: to a pause that is long or has just begun."""
    stream = long_form(vocabulary, eager=-1.0, endless=True, max_len_b=11)
    begins = first_frames(stream, with_pauses(speech, 500, 1000))
    assert min(abs(frame * 40 - (speech + 500)) for frame in begins) <= 80


def test_without_a_pause_a_sentence_ends_where_it_was_read_whatever_is_known_of_later_ones(vocabulary):
    stream, samples = long_form(vocabulary, eager=-1.0, endless=True, max_len_b=11), with_pauses(6500, 500, 1000)
    expected = translate(stream, samples, 160)
    assert translate(stream, samples) == [replace(word, delay=len(samples) / 16) for word in expected]


def test_silence_before_a_sentence_takes_no_memory(vocabulary):
    stream = long_form(vocabulary, eager=-1.0, endless=True, max_len_b=3)
    stream.push(with_pauses(1500, 20000))
    assert stream._sentence.silence is not None and stream._sentence.source.heard < 20
    assert stream.finish() == [] and stream.finished


def tensors():
    gc.collect()
    return [x for x in gc.get_objects() if type(x) is torch.Tensor]


@pytest.mark.parametrize("changes", [{}, pytest.param(HYBRID, marks=pytest.mark.slow)], ids=["linear", "hybrid"])
def test_memory_does_not_grow(vocabulary, changes):
    stream, sizes = long_form(vocabulary, eager=3.0, max_len_b=20, changes=changes), []
    generator = np.random.default_rng(0)
    # What other tests have left is not freed meanwhile.
    kept = tensors()
    for second in range(80):
        stream.push((generator.standard_normal(16000) * 0.1).astype(np.float32))
        if second % 20 == 19:
            sizes.append(sum(x.numel() for x in tensors()))
        assert stream._sentence.source.heard < 100 * (20 * 0.16 + 2 * 0.16 + 3 + 2)
    assert kept and stream.sentences > 8 and len(stream.steps) <= 21
    assert max(sizes) - min(sizes) < 100_000


def test_softmax_cross_attention_keeps_the_frames_of_one_sentence(vocabulary):
    stream, kept, heard = long_form(vocabulary, eager=3.0, max_len_b=20, changes=HYBRID), [], noise(12000)
    for samples in np.split(heard, 48):
        stream.push(samples)
        sentence = stream._sentence
        states = [layer.encoder_attn.get_state(sentence.memory) for layer in stream.model.decoder.layers]
        frames = {0 if state is None else state.rows[0][0].shape[1] for state in states}
        assert frames == {sentence.source.frames}
        kept += frames
    assert stream.sentences >= 3 and sum(later < former for former, later in zip(kept, kept[1:])) >= 3
    assert max(kept) < 12000 / 40 / 2


@pytest.mark.parametrize("ms", [0, 24, 30, 200, 1000])
@pytest.mark.parametrize("eager", [0.5, 3.0])
def test_short_audio_finishes(vocabulary, ms, eager):
    stream = long_form(vocabulary, eager=eager)
    translate(stream, noise(ms), 160)
    assert stream.finished


def test_a_sentence_that_does_not_end_is_cut(vocabulary, caplog):
    stream = long_form(vocabulary, eager=-1.0, endless=True, max_len_b=5)
    words = translate(stream, noise(6000), 160)
    assert stream.sentences > 2 and {word.sentence for word in words} == set(range(stream.sentences))
    assert "cut at its maximum of 5 tokens" in caplog.text


def test_unfit_models_are_refused(vocabulary, tmp_path):
    with pytest.raises(ValueError, match="needs an encoder whose frames are final: .* --encoder-visibility segment"):
        translator(vocabulary, long_form=True)
    train_vocabulary(TEXTS, str(tmp_path / "spm"), 60, "unigram")
    plain = Dictionary.load(str(tmp_path / "spm.txt")), str(tmp_path / "spm.model")
    with pytest.raises(ValueError, match="has no <next>: .* --join-segments 4"):
        translator(plain, visibility="segment", long_form=True)


def test_single_sentences_leave_the_mark_out(vocabulary):
    """A model of joined segments that is not in long form writes on behind the mark, and never shows it."""
    stream = translator(vocabulary, lagging=2, ratio=4, visibility="segment", endless=True)
    translate(stream, noise(4000), 160)
    frequent, mark = stream.steps[2].token, vocabulary[0].index(NEXT_SENTENCE)
    weight = stream.model.decoder.output_projection.weight
    weight.data[mark] = weight.data[frequent] * 1.1
    words = translate(stream, noise(4000), 160)
    tokens = [stream.dictionary[step.token] for step in stream.steps]
    assert NEXT_SENTENCE in tokens[:-2] and all(NEXT_SENTENCE not in word.text for word in words)
    assert {word.sentence for word in words} <= {0}
