"""Options that a model would take and not follow are refused by their names, with what to do."""

from argparse import Namespace

import pytest
import torch
from fairseq import options
from tiny_models import make_dictionary, make_speech_model

from leap_fairseq.models.leap_transformer_lm import LeapTransformerLanguageModel, LeapTransformerLanguageModelConfig

BANDS = ("--adaptive-input", "--adaptive-input-cutoff", "8,12")


def make_lm(*flags):
    """A language model without fairseq's composed configuration, which takes its time."""
    words = ["unused", "--task", "leap_language_modeling", "--arch", "leap_transformer_lm_tiny", *flags]
    args = options.parse_args_and_arch(options.get_training_parser(), words)
    task = Namespace(source_dictionary=make_dictionary(), target_dictionary=make_dictionary())
    return LeapTransformerLanguageModel.build_model(LeapTransformerLanguageModelConfig.from_namespace(args), task)


@pytest.mark.parametrize("name", ["attn", "heads", "fc", "resids"])
def test_scales_that_do_nothing(name):
    with pytest.raises(ValueError, match=f"--scale-{name} has no effect in leap_transformer_lm: leave it out"):
        make_lm(f"--scale-{name}")


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--base-layers", "1"), "--base-layers has no effect.*'base_layers': 0"),
        (("--decoder-xformers-att-config", "x"), "--decoder-xformers-att-config has no effect"),
        (("--character-embeddings",), "--share-decoder-input-output-embed.*leave --character-embeddings and"),
        (("--decoder-input-dim", "64"), "--decoder-input-dim 64 and --decoder-output-dim 128 alike"),
        (("--decoder-output-dim", "64"), "--decoder-input-dim 128 and --decoder-output-dim 64 alike"),
        (BANDS, "--share-decoder-input-output-embed.*leave --character-embeddings and --adaptive-input out"),
        (("--adaptive-softmax-cutoff", ""), "--adaptive-softmax-cutoff '' must be whole numbers with commas"),
        (("--adaptive-softmax-cutoff", "8,x"), "--adaptive-softmax-cutoff '8,x' must be whole numbers with commas"),
        (BANDS[:1], "--adaptive-input needs --adaptive-input-cutoff"),
        (("--tie-adaptive-weights",), "--tie-adaptive-weights needs --adaptive-input"),
        (
            (*BANDS, "--adaptive-softmax-cutoff", "5,12", "--tie-adaptive-weights"),
            "--tie-adaptive-weights needs .*the same cutoffs",
        ),
    ],
)
def test_options_that_do_not_go_together(flags, message):
    with pytest.raises(ValueError, match=message):
        make_lm(*flags)


def test_an_embedding_of_a_translator_that_cannot_be_shared():
    with pytest.raises(ValueError, match="--share-decoder-input-output-embed does not go with .*-output-dim 48"):
        make_speech_model(share_decoder_input_output_embed=True, decoder_output_dim=48)


def test_what_asks_for_nothing_is_no_refusal():
    make_lm("--base-layers", "0", "--base-sublayers", "1")
    make_lm(*BANDS, "--adaptive-softmax-cutoff", "8,12", "--tie-adaptive-weights")


def test_an_adaptive_softmax_has_a_criterion_of_its_own():
    model = make_lm("--adaptive-softmax-cutoff", "8,12").eval()
    tokens = torch.randint(4, 20, (1, 5))
    model.get_normalized_probs(model(tokens), log_probs=True)
    with pytest.raises(ValueError, match="--adaptive-softmax-cutoff is trained by --criterion adaptive_loss"):
        model.train().get_normalized_probs(model(tokens), log_probs=True)


@pytest.mark.parametrize(
    "make, option, value",
    [
        (make_lm, "constraints", "ordered"),
        (make_lm, "print_alignment", "hard"),
        (make_speech_model, "constraints", "unordered"),
    ],
)
def test_generation_that_needs_what_is_not_there(make, option, value):
    with pytest.raises(ValueError, match=f"--{option.replace('_', '-')} needs .*: leave it out"):
        make().prepare_for_inference_(Namespace(generation=Namespace(**{option: value})))
