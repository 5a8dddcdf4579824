"""The weights of a sentence are those with which its tokens were written, and nothing else changes."""

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary
from random_translator import HYBRID, TEXTS, noise, translate, translator
from tolerances import assert_same

from leap_fairseq.report.alignment import SentenceAlignment
from leap_fairseq.speech import train_vocabulary
from leap_fairseq.streaming.alignment import collect_alignment
from leap_fairseq.streaming.sentence import Sentence

RATIO, TOKENS, FRAMES, LENGTH = 4, 8, 25, 1000
CONTRAST, COSFORMER = ({"decoder_cross_attention": kind} for kind in ("contrast", "cosformer"))


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 40, "unigram")
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


def endless(vocabulary, policy="wait-k", **options):
    """A translator of wait-k, or one that refuses drafts."""
    stream = translator(vocabulary, "1-6", RATIO, TOKENS, endless=True, **options)
    for layer in stream.model.decoder.layers:
        if layer.encoder_attn.kind.contrast:
            layer.encoder_attn.contrast.data.fill_(0.99)  # so that random weights have some below 0
    return stream.new_stream(stream.policy.configured(policy=policy))


def speech(ms=LENGTH):
    """Segments of 40 ms, and their rate."""
    return [(piece, 16000) for piece in np.split(noise(ms), range(640, ms * 16, 640))]


@pytest.fixture
def used(monkeypatch):
    """A function: watches a stream; returns what its cross-attentions returned, and the frames that they read.

    Both by layer and written token: nothing is known here of numbers of tokens, but that some of a draft are written.
    """

    def watch(stream):
        decoder, write = stream.model.decoder, Sentence.write
        frames, drafts = [], [[] for _ in decoder.layers]
        written = [[] for _ in decoder.layers]

        def absorb(new, memory, call=decoder.absorb):
            frames.append(new)
            call(new, memory)

        def forget(memory, call=decoder.forget_source):
            frames.clear()
            call(memory)

        def keep(sentence, accepted, decision_frames):
            for kept, draft in zip(written, drafts):
                assert len(draft) == len(sentence.draft)
                kept += draft[:accepted]
                draft.clear()
            return write(sentence, accepted, decision_frames)

        for layer, draft in zip(decoder.layers, drafts):
            layer.encoder_attn.register_forward_hook(
                lambda _module, _inputs, output, draft=draft: draft.append((output[0], torch.cat(frames)))
            )
        monkeypatch.setattr(decoder, "absorb", absorb)
        monkeypatch.setattr(decoder, "forget_source", forget)
        monkeypatch.setattr(Sentence, "write", keep)
        return written

    return watch


def read_with(attention, weights, frames):
    """What an attention returns [C] that reads frames [S, 1, C] with weights [H, S]."""
    values = attention.v_proj(frames[:, 0]).unflatten(-1, (attention.num_heads, -1))
    return attention.out_proj(torch.einsum("hs,shk->hk", torch.from_numpy(weights), values).flatten())


@pytest.mark.parametrize(
    "changes, visibility, policy",
    [
        (CONTRAST, "segment", "wait-k"),
        (CONTRAST, "full", "agreement"),
        (HYBRID, "segment", "agreement"),
        (HYBRID, "full", "wait-k"),
        (COSFORMER, "full", "agreement"),
    ],
)
@torch.no_grad()
def test_weights_times_values_are_what_the_attention_returned(vocabulary, used, changes, visibility, policy):
    stream = endless(vocabulary, policy, visibility=visibility, changes=changes)
    written = used(stream)
    found = collect_alignment(stream, speech())
    assert len(found.pieces) == len(found.read) == TOKENS + 1 and found.read[-1] == FRAMES
    assert (stream.decoder_steps > TOKENS + 1) == (policy == "agreement")
    for layer, weights, outputs in zip(stream.model.decoder.layers, found.weights, written):
        attention = layer.encoder_attn
        assert weights.shape == (attention.num_heads, TOKENS + 1, FRAMES)
        for token, (output, frames) in enumerate(outputs):
            assert len(frames) == found.read[token]
            mine, others = weights[:, token, : len(frames)], weights[:, token - 1, : len(frames)]
            assert_same(read_with(attention, mine, frames), output[0, 0])
            assert not weights[:, token, len(frames) :].any()
            # The controls: another token's; without what contrast takes away.
            assert not torch.allclose(read_with(attention, others, frames), output[0, 0], atol=1e-4)
            if found.kind == "contrast":
                assert (mine < 0).any() and not torch.allclose(
                    read_with(attention, mine.clip(0), frames), output[0, 0], atol=1e-4
                )


@pytest.mark.parametrize("changes, total", [(HYBRID, 1.0), (CONTRAST, 0.01)])
def test_rows_sum_to_one_less_the_contrast(vocabulary, changes, total):
    found = collect_alignment(endless(vocabulary, visibility="segment", changes=changes), speech())
    assert found.kind == changes["decoder_cross_attention"]
    for weights in found.weights:
        assert np.allclose(weights.sum(-1), total, atol=1e-5)
        assert (weights < 0).any() == (total < 1)


def test_the_translation_stays_and_no_hook_is_left(vocabulary):
    stream, alone = endless(vocabulary, "agreement"), endless(vocabulary, "agreement")
    translate(alone, noise(LENGTH), 40)
    for _ in range(2):
        found = collect_alignment(stream, speech())
        assert isinstance(found, SentenceAlignment) and stream.steps == alone.steps
        assert found.read == tuple(step.frames for step in alone.steps) and found.source_length == LENGTH
    with pytest.raises(ValueError, match="changed from"):
        collect_alignment(stream, [*speech(200), (np.zeros(100, np.float32), 8000)])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in stream.model.modules())


def test_errors(vocabulary):
    stream = endless(vocabulary)
    with pytest.raises(ValueError, match="recording of 20 ms is too short"):
        collect_alignment(stream, speech(20))
    stream.long_form = True
    with pytest.raises(ValueError, match="cannot be made in long form"):
        collect_alignment(stream, speech())
