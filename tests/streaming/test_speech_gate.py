"""The gate holds words until there is speech, never changes them, and knows what speech was left untranslated."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from random_translator import TEXTS, noise, translate, translator

from leap_fairseq.speech import NEXT_SENTENCE, load_audio, train_vocabulary
from leap_fairseq.streaming import finish_batch, push_batch
from leap_fairseq.streaming.sentence import BEFORE
from leap_fairseq.streaming.speech_gate import LONGEST_SILENCE

RECORDINGS = Path(__file__).parents[3] / "shared/data/speech-fixtures"
VISIBILITIES = pytest.mark.parametrize("visibility", ["full", "segment"])


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 60, "unigram", [NEXT_SENTENCE])
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


def both(vocabulary, **options):
    """The same translator with the gate and without."""
    options = {"lagging": 1, "ratio": 4, "max_len_b": 12, **options}
    return [translator(vocabulary, endless=True, speech_gate=gate, **options) for gate in (True, False)]


def dither(ms, seed=5):
    return (np.random.default_rng(seed).uniform(-1, 1, ms * 16) / 32768).astype(np.float32)


def tokens(stream, samples, segment_ms=160):
    """The tokens of a recording, each with the frames that it was written from."""
    translate(stream, samples, segment_ms)
    return [(step.token, step.frames) for step in stream.steps]


SILENCES = [np.zeros(24000, np.float32), np.full(24000, 0.2, np.float32), dither(1500)]


@VISIBILITIES
@pytest.mark.parametrize("silence", SILENCES, ids=["zero", "offset", "dither"])
def test_silence_stays_silent_and_says_so(vocabulary, visibility, silence, caplog):
    gated, control = both(vocabulary, visibility=visibility)
    assert translate(gated, silence, 160) == [] and gated.finished and not gated.steps
    assert "no speech in 1.50 s of sound, nothing is written: --no-speech-gate" in caplog.text
    assert translate(control, silence, 160) and len(control.steps) == 13 and control.notice() is None


@VISIBILITIES
@pytest.mark.parametrize("lead", [0, 100, 300, 1000])
def test_tokens_are_those_without_the_gate_and_wait_for_the_speech(vocabulary, visibility, lead):
    samples = np.concatenate([dither(lead), noise(1000)])
    gated, control = both(vocabulary, visibility=visibility)
    assert tokens(gated, samples) == tokens(control, samples) and len(gated.steps) == 13
    # Speech begins with the fourth window of 25 ms that has some of it, each 10 ms behind the last one.
    heard = -(-(lead + 40) // 160) * 160
    assert [step.delay for step in gated.steps] == [max(step.delay, heard) for step in control.steps]


@VISIBILITIES
def test_long_silence_is_no_part_of_the_sentence(vocabulary, visibility):
    """The speech is translated as if it began a moment before its first sound, however it was cut."""
    stream, _ = both(vocabulary, visibility=visibility)
    lead = 3 * LONGEST_SILENCE * 40
    samples = np.concatenate([np.zeros(lead * 16, np.float32), noise(1000)])
    expected = tokens(stream, samples[(lead - (BEFORE + 1) * 40) * 16 :])
    assert expected[0][1] == 4 and len(expected) == 13
    for segment in (40, 333, 5000):
        assert tokens(stream, samples, segment) == expected, segment
    stream.reset()
    for _ in range(20):
        stream.push(np.zeros(16000, np.float32))
    assert stream._sentence.source.heard < 4 * LONGEST_SILENCE + 104


@pytest.mark.parametrize("lead, visibility", [(100, "segment"), (900, "full"), (2000, "segment")])
def test_the_cuts_do_not_matter(vocabulary, lead, visibility):
    stream, _ = both(vocabulary, visibility=visibility)
    samples = np.concatenate([dither(lead), noise(700), dither(1200), noise(300)])
    expected = tokens(stream, samples)
    for segment in (10, 333, None):
        assert tokens(stream, samples, segment) == expected, segment


def test_a_batch_is_what_each_is_alone(vocabulary):
    stream, _ = both(vocabulary, visibility="segment")
    leads = (0, 900, 1500, 2000)
    sounds = [np.concatenate([dither(lead), noise(2000 - lead, seed)]) for seed, lead in enumerate(leads)]
    alone = []
    for samples in sounds:
        translate(stream, samples, 160)
        alone.append(stream.steps)
    streams = [stream.new_stream() for _ in sounds]
    for first in range(0, 32000, 2560):
        push_batch(streams, [samples[first : first + 2560] for samples in sounds])
    finish_batch(streams)
    assert [of_it.steps for of_it in streams] == alone and [len(steps) for steps in alone] == [13, 13, 13, 0]


def long_form(vocabulary, **options):
    stream = translator(vocabulary, 2, 4, visibility="segment", long_form=True, **options)
    dictionary = vocabulary[0]
    with torch.no_grad():
        weight = stream.model.decoder.output_projection.weight
        weight[dictionary.index(NEXT_SENTENCE)] = weight[dictionary.eos()] = weight[4:].mean(0) * 3
    return stream


def texts(words):
    return [(word.text, word.sentence) for word in words]


def test_long_form_writes_nothing_into_silence(vocabulary):
    gated, control = (long_form(vocabulary, speech_gate=gate) for gate in (True, False))
    assert translate(gated, dither(3000), 160) == [] and translate(control, dither(3000), 160)
    samples = np.concatenate([noise(4000), dither(500), noise(4000, 1)])
    words = translate(gated, samples, 160)
    assert words == translate(control, samples, 160) and {word.sentence for word in words} == {0, 1}


def test_a_click_behind_a_sentence_is_none(vocabulary):
    """It ends the silence that was waited through, but is no speech; what follows takes no memory."""
    samples = np.concatenate([noise(4000), np.zeros(8 * 16000, np.float32)])
    samples[8 * 16000] = 0.9
    gated, control = (long_form(vocabulary, speech_gate=gate) for gate in (True, False))
    assert {word.sentence for word in translate(gated, samples, 160)} == {0}
    assert gated._sentence.source.heard < 4 * LONGEST_SILENCE
    assert len({word.sentence for word in translate(control, samples, 160)}) > 1
    more = np.concatenate([samples, noise(3000, 2)])
    expected = texts(translate(gated, more, 160))
    assert {sentence for _, sentence in expected} == {0, 1}
    for segment in (333, None):
        assert texts(translate(gated, more, segment)) == expected, segment


@VISIBILITIES
def test_speech_left_untranslated_is_said(vocabulary, visibility, caplog):
    """So much, wherever the stream was cut; silence, and a little speech, are not worth a word."""
    stream, _ = both(vocabulary, max_len_b=5, visibility=visibility)
    samples = np.concatenate([noise(6000), np.zeros(32000, np.float32)])
    for segment in (160, None):
        caplog.clear()
        assert tokens(stream, samples, segment)[-1][1] == 24
        assert stream.untranslated_ms == pytest.approx(6000 - 960, rel=0.15)
        said = [record.message for record in caplog.records if "not translated" in record.message]
        assert len(said) == 1 and "ended at 0.96 s of 8.00 s. " in said[0] and "needs --long-form" in said[0]
        assert said[0].startswith(f"at least {stream.untranslated_ms / 1000:.1f} s of speech were not translated")
    caplog.clear()
    for enough in (noise(3000), np.concatenate([noise(1000), np.zeros(160000, np.float32)])):
        translate(stream, enough, 160)
        assert stream.notice() is None and "not translated" not in caplog.text


def test_long_form_leaves_nothing_untranslated(vocabulary):
    stream = long_form(vocabulary)
    translate(stream, noise(9000), 160)
    assert stream.untranslated_ms == 0 and stream.notice() is None and stream.sentences > 1


CHANGES = {
    "none": lambda x: x,
    "quiet": lambda x: x / np.abs(x).max() * 10 ** (-50 / 20),
    "noisy": lambda x: x + x.std() * 0.3 * np.random.default_rng(0).standard_normal(len(x)).astype(np.float32),
    "clipped": lambda x: np.clip(30 * x, -1, 1),
}


def spoken():
    """Voices, recorded and made."""
    nanotts = pytest.importorskip("py_nanotts").NanoTTS()
    for voice in ("en-US", "de-DE"):
        pcm = np.frombuffer(nanotts.speak("six trains to Hamburg at 11 o'clock", voice=voice), "<i2")
        yield voice, pcm.astype(np.float32) / 32768
    for path in sorted(RECORDINGS.glob("*.flac")) + sorted(RECORDINGS.glob("librivox-austen/*0.wav"))[:1]:
        yield path.name, load_audio(str(path))[:32000]


@pytest.mark.parametrize("change", CHANGES)
def test_speech_is_written_as_without_the_gate(vocabulary, change):
    gated, control = both(vocabulary, lagging=3, ratio=7, visibility="segment")
    for name, samples in spoken():
        samples = CHANGES[change](samples)
        assert tokens(gated, samples, 280) == tokens(control, samples, 280), name
        # Where the beginning is fainter by far than the loudest moment, which is at -50 dBFS, it is heard later.
        assert (gated.steps == control.steps or change == "quiet") and len(gated.steps) == 13, name
