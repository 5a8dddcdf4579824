"""Policies are objects: wait-k is one, whatever else decides is another, and each stream has its own."""

import argparse

import pytest
import torch
from fairseq.data import Dictionary
from random_translator import TEXTS, noise, translate, translator

from leap_fairseq.speech import NEXT_SENTENCE, train_vocabulary
from leap_fairseq.streaming import Policy, WaitkPolicy, finish_batch, push_batch
from leap_fairseq.streaming.policy import OPTIONS, add_policy_options, policy_options
from leap_fairseq.streaming.waitk import WaitkSchedule


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 60, "unigram", [NEXT_SENTENCE])
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


class Hypothesis:
    def __init__(self, written):
        self.tokens = [5] * written


class BurstPolicy(Policy):
    """A policy of this test alone: reads 12 frames, writes a burst of tokens, reads on."""

    decision_frames = 12

    def __init__(self, burst):
        self.burst = burst

    def required_frames(self, hypothesis):
        return 12 * (len(hypothesis.tokens) // self.burst + 1)

    def configured(self, burst=None, **options):
        super().configured(**options)
        return BurstPolicy(burst or self.burst)

    def __str__(self):
        return f"burst-{self.burst}"


@pytest.mark.parametrize("lagging, ratio", [(1, 1), (3, 7), (5, 4)])
def test_waitk_streams_by_the_schedule_that_trains_it(lagging, ratio):
    schedule = WaitkSchedule(f"1-{2 * lagging}", ratio)
    policy = schedule.policy
    schedule.set(lagging)
    visible = schedule(40, 10**6)
    assert (policy.lagging, policy.decision_frames, str(policy)) == (lagging, ratio, f"wait-{lagging}")
    assert [policy.required_frames(Hypothesis(count)) for count in range(40)] == visible.tolist()
    other = policy.configured(waitk_lagging=2)
    schedule.set(2)
    assert [other.required_frames(Hypothesis(count)) for count in range(40)] == schedule(40, 10**6).tolist()
    assert policy.configured(waitk_lagging=None) is policy and policy.lagging == lagging


@pytest.mark.parametrize("visibility", ["full", "segment"])
def test_another_policy_needs_nothing_but_its_class(vocabulary, visibility):
    stream = translator(vocabulary, 2, 4, visibility=visibility, endless=True, policy=BurstPolicy(3))
    translate(stream, noise(3210), 40)
    frames = [step.frames for step in stream.steps]
    assert frames[:8] == [12, 12, 12, 24, 24, 24, 36, 36] and len(frames) == 31
    assert [step.delay for step in stream.steps[:6]] == [480, 480, 480, 960, 960, 960]
    words = {segment: translate(stream, noise(3210), segment) for segment in (40, 333, None)}
    assert [w.text for w in words[40]] == [w.text for w in words[333]] == [w.text for w in words[None]]


@pytest.mark.parametrize("kind", ["leap", "softmax"])
def test_a_token_sees_what_its_policy_has_read(vocabulary, kind):
    """The scores are those of a decoder that is given exactly these frames, whatever k the model was trained for."""
    blocks = ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention")
    changes = dict.fromkeys(blocks, kind)
    stream = translator(
        vocabulary, 2, 4, visibility="segment", endless=True, changes=changes, policy=BurstPolicy(5), max_len_b=15
    )
    translate(stream, noise(2500), 160)
    tokens, model = [step.token for step in stream.steps], stream.model
    speech = stream.cmvn(_features(noise(2500)))
    frames = model.encoder(torch.from_numpy(speech)[None], torch.tensor([len(speech)]))["encoder_out"][0]
    visible = torch.tensor([step.frames for step in stream.steps])
    source = {"encoder_out": [frames], "encoder_padding_mask": [], "visible": [visible]}
    with torch.no_grad():
        scores = model.decoder(torch.tensor([[2, *tokens[:-1]]]), encoder_out=source)[0][0]
        by_schedule = model.decoder(torch.tensor([[2, *tokens[:-1]]]), encoder_out={**source, "visible": []})[0][0]
    scores[:, stream.dictionary.pad()] = -torch.inf
    scores[0, [stream.dictionary.eos()]] = -torch.inf
    assert scores.argmax(-1)[:15].tolist() == tokens[:15]
    assert not torch.allclose(scores[:15, 4:], by_schedule[:15, 4:], atol=1e-4)


def _features(samples):
    from leap_fairseq.speech import fbank

    return fbank(samples)


def test_streams_of_one_batch_have_policies_of_their_own(vocabulary):
    stream = translator(vocabulary, "1-3", 4, visibility="segment", endless=True)
    policies = [WaitkPolicy(1, 4), WaitkPolicy(3, 4), BurstPolicy(4)]
    streams, sound = [stream.new_stream(policy) for policy in policies], noise(2000)
    words = [[] for _ in streams]
    for first in range(0, len(sound), 4000):
        for number, new in enumerate(push_batch(streams, [sound[first : first + 4000]] * 3)):
            words[number] += new
    for number, new in enumerate(finish_batch(streams)):
        words[number] += new
    for together, policy, of_it in zip(streams, policies, words):
        alone = stream.new_stream(policy)
        expected = [word for first in range(0, len(sound), 4000) for word in alone.push(sound[first : first + 4000])]
        assert of_it == expected + alone.finish() and together.steps == alone.steps
    assert stream.policy.lagging == 2 and len({tuple(s.frames for s in each.steps) for each in streams}) == 3


def test_the_long_form_knows_no_particular_policy(vocabulary):
    stream = translator(vocabulary, 2, 4, visibility="segment", long_form=True, policy=BurstPolicy(2))
    dictionary = vocabulary[0]
    with torch.no_grad():
        weight = stream.model.decoder.output_projection.weight
        weight[dictionary.index(NEXT_SENTENCE)] = weight[dictionary.eos()] = weight[4:].mean(0) * 3
    words = translate(stream, noise(12000), 160)
    assert stream.sentences >= 3 and len({word.sentence for word in words}) >= 3


def test_options_of_policies_on_a_command_line(capsys):
    parser = argparse.ArgumentParser()
    add_policy_options(parser, prefix="test-")
    assert policy_options(parser.parse_args([])) == dict.fromkeys(OPTIONS)
    given = policy_options(parser.parse_args(["--test-waitk-lagging", "4", "--test-policy", "hold"]))
    assert {name: value for name, value in given.items() if value is not None} == {"waitk_lagging": 4, "policy": "hold"}
    for wrong in ("-0.1", "1.5", "nan", "x"):
        with pytest.raises(SystemExit):
            parser.parse_args(["--test-threshold", wrong])
        assert "must be a number in [0, 1]" in capsys.readouterr().err
    for wrong in ("0", "-1", "x"):
        with pytest.raises(SystemExit):
            parser.parse_args(["--test-waitk-lagging", wrong])
        assert "must be a number of at least 1" in capsys.readouterr().err


def test_an_option_that_a_policy_does_not_have_is_named():
    with pytest.raises(ValueError, match="policy of this model is burst-2, which has no --waitk-lagging: leave it out"):
        BurstPolicy(2).configured(waitk_lagging=3)
    with pytest.raises(ValueError, match="policy of this model is wait-3, which has no --burst"):
        WaitkPolicy(3, 4).configured(burst=2)
    with pytest.raises(ValueError, match="lagging 0 must be at least 1"):
        WaitkPolicy(3, 4).configured(waitk_lagging=0)
