"""Translators with random weights, and speech for them, for tests."""

import numpy as np
from tiny_models import make_speech_model, spread_proportions

from leap_fairseq.speech import GlobalCmvn
from leap_fairseq.streaming import StreamingDetokenizer, StreamingTranslator

RATE = 16000
TEXTS = [
    "Ich möchte am Montag nach Köln fahren.",
    "Der Zug fährt um fünf Uhr ab.",
    "Wir müssen heute ein Zimmer buchen.",
    "Können Sie mir bitte sagen, wann der Bus kommt?",
] * 5
HYBRID = {
    "encoder_self_attention": "hedgehog",
    "decoder_self_attention": "hedgehog",
    "decoder_cross_attention": "softmax",
}


def translator(
    vocabulary, lagging=3, ratio=7, max_len_b=30, seed=0, endless=False, visibility="full", changes=None, **options
):
    """A translator with random weights; an endless one never writes </s> before its maximum length."""
    dictionary, model_file = vocabulary
    model = spread_proportions(
        make_speech_model(
            dictionary=dictionary,
            seed=seed,
            waitk_lagging=str(lagging),
            fixed_pre_decision_ratio=ratio,
            dropout=0.0,
            encoder_visibility=visibility,
            **(changes or {}),
        )
    )
    if endless:
        model.decoder.output_projection.weight.data[dictionary.eos()] = 0
    cmvn = GlobalCmvn(np.full(80, 10.0, np.float32), np.full(80, 3.0, np.float32))
    return StreamingTranslator(
        model, dictionary, StreamingDetokenizer(model_file), cmvn, max_len_b=max_len_b, **options
    )


def noise(ms, seed=0, rate=RATE):
    """Noise whose loudness changes, so that different moments sound different."""
    generator = np.random.default_rng(seed)
    samples = generator.standard_normal(ms * rate // 1000) * 0.1
    return (samples * (1.2 + np.sin(np.arange(samples.size) / rate * 5))).astype(np.float32)


def translate(stream, samples, segment_ms=None, rate=RATE):
    """All words, in the segments of a recording."""
    stream.reset()
    size = len(samples) if segment_ms is None else segment_ms * rate // 1000
    words = []
    for first in range(0, len(samples), max(size, 1)):
        words += stream.push(samples[first : first + size], rate)
    return words + stream.finish()
