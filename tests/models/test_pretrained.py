"""Beginning with another training's encoder: every tensor bit for bit, and every difference of options by name."""

import dataclasses
import logging
from argparse import Namespace

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY
from tiny_models import SMALL_SPEECH, make_speech_model

from leap_fairseq.models.options import SpeechAttentionOptions

ASR = "leap_convtransformer_tiny"
WAITK = "leap_convtransformer_simul_trans_tiny"


def options_of(arch, **changes):
    args = Namespace(arch=arch, **{**SMALL_SPEECH, **changes})
    ARCH_CONFIG_REGISTRY[arch](args)
    return args


@pytest.fixture
def recognizer(tmp_path):
    """A function: saves an offline model of other options as fairseq-train would; returns its path and weights."""

    def save(**changes):
        model = make_speech_model(ASR, seed=5, **changes)
        args = options_of(ASR, **changes)
        # fairseq saves the options after build_model has filled in the defaults of ours.
        for option in dataclasses.fields(SpeechAttentionOptions):
            setattr(args, option.name, getattr(args, option.name, option.default))
        state = {
            "cfg": {"model": args, "task": Namespace(task="leap_speech_to_text")},
            "model": model.state_dict(),
            "optimizer_history": [{"num_updates": 12345, "lr_scheduler_state": {}}],
            "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        }
        path = tmp_path / "asr.pt"
        torch.save(state, path)
        return str(path), model.state_dict()

    return save


def test_all_encoder_tensors_are_bit_equal_and_the_log_says_so(recognizer, caplog):
    path, weights = recognizer()
    with caplog.at_level(logging.INFO):
        model = make_speech_model(WAITK, load_pretrained_encoder_from=path)
    ours = model.encoder.state_dict()
    assert len(ours) > 40
    for name, tensor in ours.items():
        assert torch.equal(tensor, weights[f"encoder.{name}"]), name
    numbers = sum(tensor.numel() for tensor in ours.values())
    assert f"encoder: all {len(ours)} tensors ({numbers:,} numbers) are those of {path}, a {ASR}" in caplog.text
    assert "12345 updates" in caplog.text and "transformer_layers" in caplog.text
    # The control: without it, they are not.
    fresh = make_speech_model(WAITK).encoder.state_dict()
    assert sum(not torch.equal(fresh[name], ours[name]) for name in ours) > 20


@pytest.mark.parametrize(
    "change, named",
    [
        ({"encoder_self_attention": "relu"}, "--encoder-self-attention leap, not relu"),
        ({"encoder_self_attention": "softmax"}, "--encoder-self-attention leap, not softmax"),
        ({"leap_factor": 2}, "--leap-factor 4, not 2"),
        ({"encoder_attention_heads": 2}, "--encoder-attention-heads 4, not 2"),
        ({"encoder_layers": 1}, "--encoder-layers 2, not 1"),
        ({"encoder_layers": 3}, "--encoder-layers 2, not 3"),
        ({"encoder_embed_dim": 16}, "--encoder-embed-dim 32, not 16"),
        ({"encoder_ffn_embed_dim": 32}, "--encoder-ffn-embed-dim 48, not 32"),
        ({"conv_out_channels": 4}, "--conv-out-channels 8, not 4"),
        ({"encoder_normalize_before": False}, "--encoder-normalize-before True, not False"),
        ({"normalizer_floor": 0.01}, "--normalizer-floor 0.1, not 0.01"),
        ({"activation_fn": "gelu"}, "--activation-fn relu, not gelu"),
    ],
)
def test_every_difference_is_refused_by_name(recognizer, change, named):
    path, _ = recognizer()
    with pytest.raises(ValueError, match="--load-pretrained-encoder-from .*asr.pt.*give the same options") as refused:
        make_speech_model(WAITK, load_pretrained_encoder_from=path, **change)
    assert named in str(refused.value)


def test_what_does_not_matter_to_the_encoder_may_differ(recognizer):
    path, _ = recognizer(encoder_self_attention="elu", leap_factor=2, dropout=0.3)
    make_speech_model(
        WAITK,
        load_pretrained_encoder_from=path,
        encoder_self_attention="elu",
        decoder_layers=1,
        decoder_self_attention="softmax",
        max_source_positions=300,
    )


def test_positions_matter_to_cosformer(recognizer):
    kind = {"encoder_self_attention": "cosformer"}
    path, _ = recognizer(**kind)
    make_speech_model(WAITK, load_pretrained_encoder_from=path, **kind)
    with pytest.raises(ValueError, match="--max-source-positions 400, not 300"):
        make_speech_model(WAITK, load_pretrained_encoder_from=path, max_source_positions=300, **kind)


def test_other_tensors_and_a_missing_file_are_refused(recognizer, tmp_path):
    path, _ = recognizer()
    state = torch.load(path)
    state["model"].pop("encoder.out.bias")
    torch.save(state, path)
    with pytest.raises(ValueError, match="other tensors than this model's .*out.bias"):
        make_speech_model(WAITK, load_pretrained_encoder_from=path)
    with pytest.raises(FileNotFoundError, match="none.pt .--load-pretrained-encoder-from."):
        make_speech_model(WAITK, load_pretrained_encoder_from=str(tmp_path / "none.pt"))


def test_a_decoder_likewise(recognizer):
    path, weights = recognizer()
    model = make_speech_model(ASR, load_pretrained_decoder_from=path)
    assert torch.equal(model.decoder.embed_tokens.weight, weights["decoder.embed_tokens.weight"])
    with pytest.raises(ValueError, match="--decoder-layers 2, not 1"):
        make_speech_model(ASR, load_pretrained_decoder_from=path, decoder_layers=1)
