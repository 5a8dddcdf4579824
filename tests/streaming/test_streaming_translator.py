"""The stream: its policy is that of training, its words do not depend on how it was cut, and nothing is lost."""

import logging
import math

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from fairseq.sequence_generator import SequenceGenerator
from random_translator import RATE, TEXTS, noise, translate, translator
from tiny_models import make_speech_model

from leap_fairseq.speech import fbank, train_vocabulary
from leap_fairseq.streaming import StreamingDetokenizer, StreamingTranslator


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 60, "unigram")
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


VISIBILITIES = pytest.mark.parametrize("visibility", ["full", "segment"])


@VISIBILITIES
@pytest.mark.parametrize("ratio", [2, 7, 9])
@pytest.mark.parametrize("lagging", [1, 3])
def test_frames_read_are_those_of_training(vocabulary, ratio, lagging, visibility):
    stream = translator(vocabulary, lagging, ratio, endless=True, visibility=visibility)
    samples = noise(2500)
    translate(stream, samples, 40)
    features = fbank(samples)
    total = stream.model.encoder(torch.from_numpy(features)[None], torch.tensor([len(features)]))["encoder_out"][0]
    size = total.shape[0]
    assert size == 62 and len(stream.steps) == 31
    for i, step in enumerate(stream.steps):
        assert step.frames == min(size, (i + lagging) * ratio)
        assert step.delay == min(2500, (i + lagging) * ratio * 40)


@VISIBILITIES
@pytest.mark.parametrize("lagging", [1, 3])
def test_words_do_not_depend_on_the_segments(vocabulary, lagging, visibility):
    stream = translator(vocabulary, lagging, max_len_b=14, endless=True, visibility=visibility)
    samples = noise(2910)
    expected = translate(stream, samples, 280)
    tokens = [step.token for step in stream.steps]
    assert len(tokens) == 15 and expected
    for segment in (10, 25, 40, 333, 1000, None):
        words = translate(stream, samples, segment)
        assert [step.token for step in stream.steps] == tokens, segment
        assert [w.text for w in words] == [w.text for w in expected]
        assert all(a.delay <= b.delay for a, b in zip(words, words[1:]))
        assert words[-1].delay <= 2910


def test_features_are_those_of_training(vocabulary):
    stream = translator(vocabulary)
    samples = noise(1234)
    for segment in (10, 25, 33, 40, 280, 333, None):
        translate(stream, samples, segment)
        heard = np.concatenate(stream._sentence.source._features)
        assert np.array_equal(heard, stream.cmvn(fbank(samples))), segment


@VISIBILITIES
def test_waiting_for_everything_equals_offline_greedy(vocabulary, visibility):
    dictionary = vocabulary[0]
    for seed in range(4):
        stream = translator(vocabulary, lagging=100, seed=seed, visibility=visibility)
        samples = noise(1500, seed)
        translate(stream, samples, 280)
        assert {step.delay for step in stream.steps} == {1500.0}
        features = torch.from_numpy(stream.cmvn(fbank(samples)))[None]
        generator = SequenceGenerator([stream.model], dictionary, beam_size=1, max_len_b=30)
        sample = {"net_input": {"src_tokens": features, "src_lengths": torch.tensor([features.shape[1]])}}
        expected = generator.generate([stream.model], sample)[0][0]["tokens"].tolist()
        assert [step.token for step in stream.steps] == expected


@pytest.mark.parametrize("lagging", [3, 100])
@pytest.mark.parametrize("ms", [0, 10, 24, 30, 200, 1000])
@pytest.mark.parametrize("silent", [True, False])
@VISIBILITIES
def test_short_audio_and_silence_finish(vocabulary, lagging, ms, silent, visibility):
    stream = translator(vocabulary, lagging, max_len_b=8, visibility=visibility)
    samples = np.zeros(ms * 16, np.float32) if silent else noise(ms)
    words = translate(stream, samples, 280)
    assert stream.finished
    assert all(w.text and "</s>" not in w.text for w in words)
    # Speech is no shorter than four windows of 25 ms, each 10 ms behind the last one.
    assert bool(stream.steps) == (ms >= 55 and not silent)
    stream.speech_gate = False
    translate(stream, samples, 280)
    assert stream.finished and bool(stream.steps) == (ms >= 25)


def test_sentences_do_not_leak_into_each_other(vocabulary):
    a, b = noise(1700, 1), noise(2300, 2)
    alone = translate(translator(vocabulary), b, 280)
    stream = translator(vocabulary)
    translate(stream, a, 280)
    assert translate(stream, b, 280) == alone
    stream.reset()
    stream.push(a[:9000])
    assert translate(stream, b, 280) == alone


def test_stereo_and_other_rates(vocabulary):
    stream = translator(vocabulary)
    samples = noise(2000)
    expected = translate(stream, samples, 280)
    assert translate(stream, np.stack([samples, samples], 1), 280) == expected
    for rate in (8000, 44100, 48000):
        words = translate(stream, noise(2000, rate=rate), 280, rate)
        assert stream.finished and words
        assert stream._sentence.source.heard == 198 and words[-1].delay == 2000


def test_misuse_is_named(vocabulary):
    stream = translator(vocabulary)
    stream.push(noise(100), RATE)
    with pytest.raises(ValueError, match="changed from 16000 to 48000 Hz.*reset"):
        stream.push(noise(100), 48000)
    stream.finish()
    with pytest.raises(ValueError, match="has been finished: call reset"):
        stream.push(noise(100))
    offline = make_speech_model("leap_convtransformer_tiny")
    with pytest.raises(ValueError, match="has no read/write policy: train --arch leap_convtransformer_simul_trans"):
        StreamingTranslator(offline, stream.dictionary, stream.detokenizer)


def test_lagging_can_be_chosen_and_starts_from_the_middle(vocabulary):
    dictionary, model_file = vocabulary
    model = make_speech_model(dictionary=dictionary, waitk_lagging="2-5")
    stream = StreamingTranslator(model, dictionary, StreamingDetokenizer(model_file))
    assert stream.policy.lagging == 3
    assert stream.new_stream(stream.policy.configured(waitk_lagging=2)).policy.lagging == 2
    assert stream.policy.lagging == stream.new_stream().policy.lagging == 3


def test_maximum_length_warns(vocabulary, caplog):
    stream = translator(vocabulary, max_len_b=3, endless=True)
    with caplog.at_level(logging.WARNING):
        translate(stream, noise(3000), 280)
    assert len(stream.steps) == 4 and stream.finished
    assert "cut at its maximum of 3 tokens (--max-len-a, --max-len-b)" in caplog.text


@pytest.mark.parametrize("a, b", [(0.0, 0), (0.0, -1), (0.1, -1), (-0.1, 200), (math.nan, 200), (math.inf, 200)])
def test_a_maximum_without_a_token_is_refused(vocabulary, a, b):
    with pytest.raises(ValueError, match=f"--max-len-a {a:g} and --max-len-b {b} .* must be 0 or more"):
        translator(vocabulary, max_len_a=a, max_len_b=b)
    translator(vocabulary, max_len_a=0.1, max_len_b=0)


@VISIBILITIES
def test_a_maximum_by_length_does_not_depend_on_the_segments(vocabulary, visibility):
    """It counts what a token may see: the fifth sees 7 * 7 * 4 features, of which 0.02 each and 1 allow 4 tokens."""
    stream = translator(vocabulary, 3, 7, endless=True, visibility=visibility, max_len_a=0.02, max_len_b=1)
    for segment in (40, 1000, None):
        translate(stream, noise(2910), segment)
        assert len(stream.steps) == 5, segment


@pytest.mark.parametrize("samples", [np.zeros(1600, np.int16), np.full(1600, np.nan), np.float32(0.5)], ids=str)
def test_samples_that_are_refused_were_not_heard(vocabulary, samples):
    stream, sound = translator(vocabulary, endless=True), noise(1500)
    expected = translate(stream, sound, 500)
    stream.reset()
    with pytest.raises(ValueError, match="but must be"):
        stream.push(samples, 8000)
    words = stream.push(sound[:8000])
    with pytest.raises(ValueError, match="but must be"):
        stream.push(samples)
    assert words + stream.push(sound[8000:16000]) + stream.push(sound[16000:]) + stream.finish() == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@VISIBILITIES
def test_half_precision_streams(vocabulary, dtype, visibility):
    stream = translator(vocabulary, visibility=visibility).to("cpu", dtype)
    assert translate(stream, noise(1500), 280) and stream.finished


def test_a_recording_that_is_pushed_whole_is_not_copied_for_each_token(vocabulary):
    source, features = (
        translator(vocabulary, visibility="segment").model.new_source(keep=False),
        np.zeros((400, 80), np.float32),
    )
    source.push(features)
    taken = [source.take(frames) for frames in (10, 20, 30)]
    assert [piece.shape[1] for piece in taken] == [38, 40, 40]
    assert all(np.shares_memory(waiting, features) for waiting in source._features)
    # The control: of two pieces, one is made.
    source.push(features)
    source.take(100)
    assert not np.shares_memory(source._features[0], features)


def test_each_frame_is_encoded_once(vocabulary, caplog):
    """The counter; the control is the encoder that starts anew, (n + 1) / 2 times a frame for n pre-decisions."""
    samples, ratio = noise(8400), 7
    counts = {}
    for visibility in ("full", "segment"):
        stream = translator(vocabulary, 1, ratio, endless=True, visibility=visibility)
        with caplog.at_level(logging.INFO):
            translate(stream, samples, 280)
        counts[visibility] = stream.encoder_frames
        assert stream.decoder_steps == len(stream.steps) == 31
    frames = 8400 // 40
    assert counts == {"segment": frames, "full": sum(ratio * (i + 1) for i in range(frames // ratio))}
    assert counts["full"] / frames == (frames / ratio + 1) / 2
    assert "8.40 s of speech: 210 encoder frames computed, 31 decoder steps, 1 sentences ended" in caplog.text


@pytest.mark.parametrize("kind", ["leap", "cosformer", "relu", "elu", "softmax"])
def test_every_attention_streams_what_offline_decoding_sees(vocabulary, kind):
    blocks = ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention")
    changes = dict.fromkeys(blocks, kind)
    stream = translator(vocabulary, 2, 5, visibility="segment", changes=changes, endless=True, max_len_b=20)
    samples = noise(3000)
    translate(stream, samples, 160)
    features = torch.from_numpy(stream.cmvn(fbank(samples)))[None]
    tokens = torch.tensor([[2, *(step.token for step in stream.steps[:-1])]])
    with torch.no_grad():
        logits = stream.model(features, torch.tensor([features.shape[1]]), tokens)[0][0]
    logits[:, stream.dictionary.pad()] = -torch.inf
    logits[0, stream.dictionary.eos()] = -torch.inf
    assert logits.argmax(-1)[:20].tolist() == [step.token for step in stream.steps[:20]]
