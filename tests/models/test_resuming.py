"""A save folder of another configuration is refused, and the option named; what may change on the way may change."""

import pytest
import torch
from fairseq.trainer import Trainer

from leap_fairseq.models.leap_lra import LeapLraConfig
from leap_fairseq.models.leap_transformer_lm import LeapTransformerLanguageModel, LeapTransformerLanguageModelConfig
from leap_fairseq.models.options import (
    AttentionOptions,
    SpeechAttentionOptions,
    WaitkOptions,
    differences,
    shaping_options,
)

BEGUN = {
    "decoder_self_attention": "relu",
    "attention_half_life": None,
    "decoder_layers": 2,
    "normalizer_floor": 0.1,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "max_target_positions": 512,
    "tokens_per_sample": 512,
}


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("decoder_self_attention", "elu", "--decoder-self-attention relu, not elu"),
        ("attention_half_life", "8-512", "--attention-half-life None, not 8-512"),
        ("decoder_layers", 3, "--decoder-layers 2, not 3"),
        ("normalizer_floor", 1e-6, "--normalizer-floor 0.1, not 1e-06"),
    ],
)
def test_an_option_of_the_model_is_named(option, value, message):
    assert differences(BEGUN, {**BEGUN, option: value}) == [message]


def test_what_may_change_on_the_way():
    assert differences(BEGUN, {**BEGUN, "dropout": 0.3, "attention_dropout": 0.2, "max_target_positions": 64}) == []
    assert differences({}, BEGUN) == differences(BEGUN, BEGUN) == []


def test_an_option_that_a_checkpoint_is_older_than():
    old = {"encoder_self_attention": "relu", "encoder_visibility": "segment", "encoder_segment": 7}
    assert differences(old, {**old, "encoder_attention_half_life": None}) == []
    now = {**old, "encoder_attention_half_life": "2-64"}
    assert differences(old, now) == ["--encoder-attention-half-life None, not 2-64"]


def test_the_maximum_length_is_a_part_of_cosformer():
    begun = {**BEGUN, "decoder_self_attention": "cosformer"}
    assert differences(begun, {**begun, "max_target_positions": 64}) == ["--max-target-positions 512, not 64"]
    # Of the text to the speech, both lengths are.
    begun = {"decoder_cross_attention": "cosformer", "max_target_positions": 9, "max_source_positions": 90}
    assert differences(begun, {**begun, "max_source_positions": 80}) == ["--max-source-positions 90, not 80"]


def test_what_matters_only_beside_another_option():
    speech = {"encoder_self_attention": "leap", "decoder_self_attention": "relu", "leap_factor": 4}
    assert differences(speech, {**speech, "leap_factor": 2}) == ["--leap-factor 4, not 2"]
    assert differences(speech, {**speech, "leap_factor": 2}, "decoder") == []
    for visibility, count in (("full", 0), ("segment", 1)):
        segments = {"encoder_visibility": visibility, "encoder_segment": 7}
        assert len(differences(segments, {**segments, "encoder_segment": 14})) == count


def test_a_checkpoint_of_fairseqs_own_model_has_softmax_attention():
    theirs = {"decoder_layers": 2}
    assert differences(theirs, {**theirs, "decoder_self_attention": "softmax"}) == []
    assert differences(theirs, BEGUN) == ["--decoder-self-attention softmax, not relu"]


FREE = {"dropout", "attention_dropout", "activation_dropout"}
"""Options of ours that change nothing of what trained weights compute."""


def configs(base=AttentionOptions):
    """All dataclasses with options of models."""
    return [base, *(config for subclass in base.__subclasses__() for config in configs(subclass))]


def test_every_option_of_ours_shapes_a_part_of_the_model_or_is_free():
    assert {SpeechAttentionOptions, WaitkOptions, LeapLraConfig, LeapTransformerLanguageModelConfig} < set(configs())
    ours = {name for config in configs() for name in config.__annotations__}
    assert len(ours) == 28
    assert ours - shaping_options().keys() == FREE
    assert not FREE & shaping_options().keys()


def test_every_option_of_a_shape_is_one_of_a_part():
    parts = [shaping_options(part) for part in ("encoder", "decoder", "policy", "model")]
    assert {name for part in parts for name in part} == shaping_options().keys()
    assert set(parts[2]) == {"waitk_lagging", "fixed_pre_decision_ratio"} and set(parts[3]) == {"arch"}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function: resumes a training of relu attention with leap attention."""
    path = tmp_path / "checkpoint_last.pt"
    torch.save({"model": {}, "cfg": {"model": BEGUN}, "args": None}, path)
    monkeypatch.setattr("fairseq.checkpoint_utils.load_checkpoint_to_cpu", lambda path: torch.load(path))
    monkeypatch.setattr(Trainer, "is_data_parallel_master", True)
    trainer = Trainer.__new__(Trainer)
    trainer._model = LeapTransformerLanguageModel.__new__(LeapTransformerLanguageModel)
    trainer.cfg = {"model": {**BEGUN, "decoder_self_attention": "leap"}}

    def load_checkpoint(model=None, **options):
        trainer._model = model or trainer._model
        return trainer.load_checkpoint(str(path), **options)

    return load_checkpoint


def test_another_model_is_refused(load):
    with pytest.raises(ValueError, match="--decoder-self-attention relu, not leap: give another --save-dir"):
        load()


def test_a_new_optimizer_may_take_any_weights(load):
    # Beyond the check, this trainer has nothing to load into.
    with pytest.raises(AttributeError):
        load(reset_optimizer=True)


def test_any_other_model_resumes_as_in_fairseq(load):
    with pytest.raises(AttributeError):
        load(model=torch.nn.Linear(1, 1))
