"""Tiny translators of the tests of the server."""

import pytest
import random_translator
import torch
from fairseq.data import Dictionary

from leap_fairseq.speech import NEXT_SENTENCE, train_vocabulary
from leap_fairseq.streaming import StreamingDetokenizer


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(random_translator.TEXTS, str(prefix), 60, "unigram", [NEXT_SENTENCE])
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


def without_words(vocabulary, **options):
    """A translator with random weights, which writes characters, to the end of the speech."""
    stream = random_translator.translator(vocabulary, lagging=2, max_len_b=16, endless=True, **options)
    stream.detokenizer = StreamingDetokenizer(vocabulary[1], "char")
    return stream


@pytest.fixture(scope="session")
def translator(vocabulary):
    """With linear attention, and an encoder that sees all speech."""
    return without_words(vocabulary)


@pytest.fixture(scope="session")
def hybrid(vocabulary):
    """With softmax cross-attention, and an encoder that sees segments."""
    return without_words(vocabulary, visibility="segment", seed=5, changes=random_translator.HYBRID)


@pytest.fixture(scope="session")
def long_form(vocabulary):
    """One that ends sentences and goes on."""
    options = {"lagging": 2, "ratio": 4, "max_len_b": 20, "visibility": "segment"}
    stream = random_translator.translator(vocabulary, long_form=True, **options)
    with torch.no_grad():
        weight, dictionary = stream.model.decoder.output_projection.weight, vocabulary[0]
        weight[dictionary.index(NEXT_SENTENCE)] = weight[dictionary.eos()] = weight[4:].mean(0) * 3
    return stream


@pytest.fixture(scope="session")
def spoken(translator):
    """Some speech as messages, and what the translator alone makes of it."""
    # Here, for a test without aiohttp is skipped before.
    from live_client import noise, pieces, words_of

    return pieces(noise(800)), words_of(translator, noise(800))
