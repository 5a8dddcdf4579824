"""A save folder of another configuration is refused, and the option named; what may change on the way may change."""

import pytest
import torch
from fairseq.trainer import Trainer

from leap_fairseq.models.leap_transformer_lm import LeapTransformerLanguageModelConfig
from leap_fairseq.models.options import AttentionOptions, SpeechAttentionOptions, WaitkOptions
from leap_fairseq.compat.resuming import differences

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


def test_the_maximum_length_is_a_part_of_cosformer():
    begun = {**BEGUN, "decoder_self_attention": "cosformer"}
    assert differences(begun, {**begun, "max_target_positions": 64}) == ["--max-target-positions 512, not 64"]


def test_every_option_of_ours_is_a_part_of_the_model():
    ours = {*LeapTransformerLanguageModelConfig.__annotations__, *AttentionOptions.__annotations__}
    ours |= {*SpeechAttentionOptions.__annotations__, *WaitkOptions.__annotations__}
    assert len(ours) == 10
    assert all(differences({name: 1}, {name: 2}) for name in ours)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function: resumes a training of relu attention with leap attention."""
    path = tmp_path / "checkpoint_last.pt"
    torch.save({"model": {}, "cfg": {"model": BEGUN}, "args": None}, path)
    monkeypatch.setattr("fairseq.checkpoint_utils.load_checkpoint_to_cpu", lambda path: torch.load(path))
    monkeypatch.setattr(Trainer, "is_data_parallel_master", True)
    trainer = Trainer.__new__(Trainer)
    trainer.cfg = {"model": {**BEGUN, "decoder_self_attention": "leap"}}
    return lambda **options: trainer.load_checkpoint(str(path), **options)


def test_another_model_is_refused(load):
    with pytest.raises(ValueError, match="--decoder-self-attention relu, not leap: give another --save-dir"):
        load()


def test_a_new_optimizer_may_take_any_weights(load):
    # Beyond the check, this trainer has nothing to load into.
    with pytest.raises(AttributeError):
        load(reset_optimizer=True)
