"""Tiny models built through fairseq's own path from options to model, for tests."""

import copy
import functools
from argparse import Namespace

import torch
from fairseq import options
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

import leap_fairseq.models  # noqa: F401  (registers the models)
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask


def make_dictionary(size=20):
    dictionary = Dictionary()
    for index in range(size - len(dictionary)):
        dictionary.add_symbol(f"\u2581w{index}")
    return dictionary


def parse(*words):
    """The options of a command line of fairseq-train."""
    parser = options.get_training_parser(default_task="leap_language_modeling")
    return options.parse_args_and_arch(parser, ["unused", *words])


@functools.cache
def _composed(arch):
    return convert_namespace_to_omegaconf(parse("--arch", arch, "--tokens-per-sample", "64"))


def configure_lm(*flags, arch="leap_transformer_lm_tiny"):
    """Task and model as fairseq configures them; to compose them takes half a second, so that only options change."""
    args = vars(parse("--arch", arch, "--tokens-per-sample", "64", *flags))
    composed = _composed(arch)
    cfg = Namespace(task=copy.deepcopy(composed.task), model=copy.deepcopy(composed.model))
    for section in (cfg.task, cfg.model):
        section.update({name: args[name] for name in section if name in args})
    return cfg


def make_lm(*flags, dictionary=None, seed=0, arch="leap_transformer_lm_tiny"):
    """A language model, parsed from a command line as fairseq-train would."""
    dictionary = dictionary or make_dictionary()
    cfg = configure_lm(*flags, arch=arch)
    task = LeapLanguageModelingTask(cfg.task, dictionary)
    torch.manual_seed(seed)
    return task.build_model(cfg.model).eval()


SMALL_SPEECH = {
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 48,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "conv_out_channels": 8,
    "max_source_positions": 400,
    "max_target_positions": 60,
    "input_feat_per_channel": 80,
}


def make_speech_model(arch="leap_convtransformer_simul_trans_tiny", dictionary=None, seed=0, **changes):
    """A speech model of the small sizes above."""
    args = Namespace(**{**SMALL_SPEECH, **changes})
    ARCH_CONFIG_REGISTRY[arch](args)
    torch.manual_seed(seed)
    task = Namespace(target_dictionary=dictionary or make_dictionary(), source_dictionary=None)
    return ARCH_MODEL_REGISTRY[arch].build_model(args, task).eval()


def spread_proportions(model, factor=4.0):
    """Moves the proportions away from one half, and paces from 1, where they begin, so that they matter to a test."""
    for name, parameter in model.named_parameters():
        if "LeaP" in name:
            parameter.data.mul_(factor)
        elif ".pace." in name:
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(len(name)))
    return model
