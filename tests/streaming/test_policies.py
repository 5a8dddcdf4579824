"""Policies that look at what the model would write: what they decide, and that a refused draft leaves no trace.

A translation by any of them must be, token for token, that of a policy which was told beforehand how much to read.
"""

import pytest
from fairseq.data import Dictionary
from random_translator import HYBRID, TEXTS, noise, translate, translator

from leap_fairseq.modules.decoder_states import DecoderStates
from leap_fairseq.speech import train_vocabulary
from leap_fairseq.streaming import Candidate, Policy, WaitkPolicy, finish_batch, push_batch
from leap_fairseq.streaming.policies import POLICIES, AgreementPolicy, AttentionPolicy, ConfidencePolicy, HoldPolicy
from leap_fairseq.streaming.policy import NAMES, OPTIONS

RATIO = 4
ADAPTIVE = {
    "confidence": ConfidencePolicy(1, 9, RATIO, threshold=0.5),
    "attention": AttentionPolicy(1, 9, RATIO, threshold=0.3),
    "agreement": AgreementPolicy(1, 9, RATIO),
    "hold": HoldPolicy(1, 9, RATIO, hold=3),
}
BLOCKS = ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention")
MODELS = {kind: dict.fromkeys(BLOCKS, kind) for kind in ("leap", "contrast", "cosformer", "softmax")} | {
    "hybrid": HYBRID
}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 60, "unigram", [])
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


class Told(Policy):
    """Reads what another policy has read."""

    decision_frames = RATIO

    def __init__(self, steps, duration):
        # What came with the end of the speech waits for it.
        self.frames = [step.frames if step.delay < duration else 10**6 for step in steps]

    def required_frames(self, hypothesis):
        return self.frames[min(len(hypothesis.tokens), len(self.frames) - 1)]

    def __str__(self):
        return "told"


class Hypothesis:
    def __init__(self, written=0, decisions=1, refused=()):
        self.tokens, self.frames, self.refused = [5] * written, decisions * RATIO, refused


def sharpened(stream):
    """Random weights that are sure of some tokens and unsure of others."""
    stream.model.decoder.output_projection.weight.data *= 3
    return stream


def candidates(*tokens, probability=0.5, newest=None):
    return [Candidate(token, probability, newest) for token in tokens]


@pytest.mark.parametrize(
    "model, visibility", [*((model, "segment") for model in MODELS), ("contrast", "full"), ("softmax", "full")]
)
@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_refused_draft_leaves_no_trace(vocabulary, name, model, visibility):
    options = {"visibility": visibility, "endless": True, "changes": MODELS[model], "max_len_b": 8}
    stream = sharpened(translator(vocabulary, "1-9", RATIO, policy=ADAPTIVE[name], **options))
    words = translate(stream, noise(1610), 40)
    assert stream.decoder_steps > len(stream.steps), "nothing was refused"
    told = stream.new_stream(Told(stream.steps, 1610))
    assert translate(told, noise(1610), 40) == words and told.steps == stream.steps
    assert told.decoder_steps == len(stream.steps)
    again = translate(stream, noise(1610), 333)
    assert [word.text for word in again] == [word.text for word in words]


@pytest.mark.parametrize("model", ["contrast", "softmax"])
def test_a_draft_that_leaves_a_trace_is_seen(vocabulary, model, monkeypatch):
    """The control of the test above: the state before a draft is not kept."""
    monkeypatch.setattr(DecoderStates, "copy_state", staticmethod(lambda incremental_state: incremental_state))
    options = {"visibility": "segment", "endless": True, "changes": MODELS[model], "max_len_b": 8}
    stream = sharpened(translator(vocabulary, "1-9", RATIO, policy=ADAPTIVE["agreement"], **options))
    translate(stream, noise(1610), 40)
    told = stream.new_stream(Told(stream.steps, 1610))
    translate(told, noise(1610), 40)
    assert [step.token for step in told.steps] != [step.token for step in stream.steps]


@pytest.mark.parametrize("model", ["contrast", "hybrid", "softmax"])
def test_streams_of_one_batch_draft_as_they_do_alone(vocabulary, model):
    options = {"visibility": "segment", "endless": True, "changes": MODELS[model], "max_len_b": 8}
    stream = sharpened(translator(vocabulary, "1-9", RATIO, **options))
    policies, sound = [*ADAPTIVE.values(), WaitkPolicy(3, RATIO)], noise(1600)
    streams = [stream.new_stream(policy) for policy in policies]
    words = [[] for _ in streams]
    for first in range(0, len(sound), 4000):
        for number, new in enumerate(push_batch(streams, [sound[first : first + 4000]] * len(streams))):
            words[number] += new
    for number, new in enumerate(finish_batch(streams)):
        words[number] += new
    for policy, together, of_it in zip(policies, streams, words):
        alone = stream.new_stream(policy)
        assert translate(alone, sound, 250) == of_it and together.steps == alone.steps
        assert together.decoder_steps == alone.decoder_steps


def test_nothing_is_refused_once_the_speech_has_ended(vocabulary):
    policy = ConfidencePolicy(9, 9, RATIO, threshold=1.0)
    stream = translator(vocabulary, "1-9", RATIO, visibility="segment", endless=True, policy=policy, max_len_b=7)
    translate(stream, noise(900), 40)
    assert len(stream.steps) == 8 and stream.decoder_steps == 8


def test_confidence_asks_less_of_a_token_the_more_was_read():
    policy = ConfidencePolicy(2, 10, RATIO, threshold=0.8)
    least = []
    for decisions in range(2, 12):
        accepts = [
            p / 100 for p in range(101) if policy.accepted(Hypothesis(0, decisions), candidates(7, probability=p / 100))
        ]
        least.append(min(accepts))
    assert least == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, 0.0], abs=0.011)
    assert policy.required_frames(Hypothesis(3)) == 5 * RATIO


def test_attention_waits_while_the_newest_frames_are_read():
    policy = AttentionPolicy(1, 10, RATIO, threshold=0.2)
    assert [policy.accepted(Hypothesis(0, 5), candidates(7, newest=share)) for share in (0.1, 0.2, 0.21, 1.0)] == [
        1,
        1,
        0,
        0,
    ]
    assert policy.accepted(Hypothesis(0, 10), candidates(7, newest=1.0)) == 1, "nothing waits beyond the highest k"


def test_agreement_writes_what_two_drafts_begin_with():
    policy = AgreementPolicy(1, 30, RATIO)
    draft = candidates(7, 8, 9)
    for refused, expected in (((), 0), ((7,), 1), ((7, 8, 5), 2), ((6, 8, 9), 0), ((7, 8, 9, 4), 3)):
        assert policy.accepted(Hypothesis(0, 20, refused), draft) == expected


def test_hold_keeps_the_last_tokens_back():
    policy = HoldPolicy(1, 30, RATIO, hold=2)
    assert [policy.accepted(Hypothesis(0, 20), candidates(*range(4, 4 + length))) for length in (1, 2, 3, 6)] == [
        0,
        0,
        1,
        4,
    ]


@pytest.mark.parametrize("policy", [AgreementPolicy(3, 5, RATIO), HoldPolicy(3, 5, RATIO, hold=1)], ids=str)
def test_a_draft_is_written_between_two_wait_k(policy):
    draft = candidates(*range(4, 12))
    agreed = Hypothesis(2, 8, tuple(range(4, 12)))
    assert policy.accepted(agreed, draft) == 8 - 2 - 3 + 1, "wait-3 would write no more"
    other = Hypothesis(2, 8, (99,))
    assert policy.accepted(other, draft[:1]) == 1 and policy.accepted(Hypothesis(2, 6, (99,)), draft[:1]) == 0


def test_names_and_options_are_those_of_the_policies():
    assert tuple(POLICIES) == NAMES
    own = {option for kind in POLICIES.values() for option in kind.options}
    assert own | {"policy"} == OPTIONS.keys()


def test_one_policy_becomes_another():
    trained = WaitkPolicy.of_training(1, 9, RATIO)
    assert (trained.lagging, trained.configured(waitk_lagging=2).lagging) == (5, 2)
    sure = trained.configured(policy="confidence", threshold=0.7, max_lagging=12)
    assert sure == ConfidencePolicy(1, 12, RATIO, trained=(1, 9), threshold=0.7)
    assert sure.configured(policy="confidence", min_lagging=2).low == 2
    assert sure.configured(policy="wait-k") == trained
    assert trained.configured(policy="wait-k") is trained and trained.configured() is trained
    assert str(sure) == "confidence 0.7 between wait-1 and wait-12"
    assert str(trained.configured(policy="agreement")) == "agreement between wait-1 and wait-9"


def test_a_policy_made_of_one_of_them_is_called_as_its_class():
    class Sure(ConfidencePolicy):
        pass

    assert str(Sure(1, 9, RATIO)) == "Sure 0.9 between wait-1 and wait-9"


def test_what_cannot_be_configured_is_refused():
    trained = WaitkPolicy.of_training(1, 9, RATIO)
    for options, message in (
        ({"policy": "beam"}, "unknown policy 'beam': choose --policy from wait-k, confidence"),
        ({"threshold": 0.5}, "is wait-5, which has no --threshold: leave it out"),
        ({"policy": "hold", "waitk_lagging": 3}, "which has no --waitk-lagging"),
        ({"policy": "hold", "hold_tokens": 0}, r"--hold-tokens 0 must lie in \[1, 63\]"),
        ({"policy": "confidence", "threshold": 2.0}, r"--threshold 2.0 must lie in \[0, 1\]"),
        ({"policy": "attention", "min_lagging": 10}, "--max-lagging 9 must be at least --min-lagging, 10"),
    ):
        with pytest.raises(ValueError, match=message):
            trained.configured(**options)
    with pytest.raises(ValueError, match="not known for which k the model of wait-3 was trained"):
        WaitkPolicy(3, RATIO).configured(policy="hold")
