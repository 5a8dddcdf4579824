"""Every registered architecture against a table: its parameters, its layers, its attentions, with no option but --arch.

The models are built from a command line, without weights: on torch's meta device.
"""

from argparse import Namespace
from functools import cache

import pytest
import torch
from fairseq import options
from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY
from tiny_models import make_dictionary, make_lm

from leap_fairseq.streaming.waitk import WaitkSchedule

# hydra and fairseq warn of the age of each other's interfaces.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


def stack(layers, dim, heads, ffn, dropout=0.1, attention_dropout=0.0, activation_dropout=0.0, pre_norm=False, **more):
    """Layers of one kind, and what is in front of them and behind them."""
    return {
        "layers": layers,
        "dim": dim,
        "heads": heads,
        "ffn": ffn,
        "dropout": dropout,
        "attention_dropout": attention_dropout,
        "activation_dropout": activation_dropout,
        "activation": "relu",
        "normalize_before": pre_norm,
        "final_norm": False,
        "embed_scale": dim**0.5,
        "positions": "SinusoidalPositionalEmbedding",
        **more,
    }


def sees(schedule, queries, keys):
    """An attention with the defaults of its options; `queries` and `keys` are the maximum lengths."""
    linear = {"leap_factor": 4, "normalizer_floor": 0.1, "half_life": None, "max_positions": (queries, keys)}
    return {"kind": "leap", "schedule": schedule, **linear}


# make_lm asks for 64 tokens a sample; fairseq's limits of speech are 6000 frames (1500 after subsampling), 1024 tokens.
LM = {"self_attention": sees("causal_visibility", 64, 64)}
ENCODER = {"self_attention": sees("full_visibility", 1500, 1500)}
OFFLINE = {
    "self_attention": sees("causal_visibility", 1024, 1024),
    "cross_attention": sees("full_visibility", 1024, 1500),
}
# k from 3 to 3, and 7 frames a pre-decision.
SIMULTANEOUS = {**OFFLINE, "cross_attention": sees((3, 3, 7), 1024, 1500)}

BASE_SPEECH = {
    "symbols": 1000,
    # Convolutions: (9 + 1) * 512 + (512 * 9 + 1) * 512, and (512 * 20 + 1) * 512 behind them         =  7,608,320
    # Encoder layers: 6 * (4 * 512 * 513 + 2 * 512 * 2048 + 2560 + 2 norms of 1024)                   = 18,914,304
    # Decoder layers: 6 * (8 * 512 * 513 + 2 * 512 * 2048 + 2560 + 3 norms of 1024)                   = 25,224,192
    # Embedding and output: 2 * 1000 * 512                                                            =  1,024,000
    "softmax": 52_770_816,
    # 18 attentions with two LeaP networks, 64 -> 16 -> 1: 18 * 2 * (65 * 16 + 17)                    =     38,052
    "leap": 52_808_868,
    "convolution": [(512, 1, 3, 3), (512, 512, 3, 3)],
    "encoder": stack(6, 512, 8, 2048, **ENCODER),
    "decoder": stack(6, 512, 8, 2048, **OFFLINE),
    "tied": [],
}
ESPNET_SPEECH = {
    "symbols": 1000,
    # Convolutions: 10 * 256 + 2305 * 256, and 5121 * 256 behind them                                 =  1,903,616
    # Encoder layers: 12 * (4 * 256 * 257 + 2 * 256 * 2048 + 2304 + 2 norms of 512)                   = 15,780,864
    # Decoder layers: 6 * (8 * 256 * 257 + 2 * 256 * 2048 + 2304 + 3 norms of 512)                    =  9,472,512
    # Embedding and output: 2 * 1000 * 256                                                            =    512,000
    "softmax": 27_668_992,
    # 24 attentions with two LeaP networks, 64 -> 16 -> 1: 24 * 2 * 1057                              =     50,736
    "leap": 27_719_728,
    "convolution": [(256, 1, 3, 3), (256, 256, 3, 3)],
    "encoder": stack(12, 256, 4, 2048, **ENCODER),
    "decoder": stack(6, 256, 4, 2048, **OFFLINE),
    "tied": [],
}
TINY_SPEECH = {
    "symbols": 1000,
    # Convolutions: 10 * 16 + 145 * 16, and 321 * 128 behind them                                     =     43,568
    # Encoder layers: 3 * (4 * 128 * 129 + 2 * 128 * 256 + 384 + 2 norms of 256)                      =    397,440
    # Decoder layers: 2 * (8 * 128 * 129 + 2 * 128 * 512 + 640 + 3 norms of 256), and a norm of 256   =    529,408
    # Embedding and output: 2 * 1000 * 128                                                            =    256,000
    "softmax": 1_226_416,
    # 7 attentions with two LeaP networks, 32 -> 8 -> 1: 7 * 2 * (33 * 8 + 9)                         =      3,822
    "leap": 1_230_238,
    "convolution": [(16, 1, 3, 3), (16, 16, 3, 3)],
    "encoder": stack(3, 128, 4, 256, pre_norm=True, **ENCODER),
    "decoder": stack(2, 128, 4, 512, pre_norm=True, **{**OFFLINE, "final_norm": True}),
    "tied": [],
}


def simultaneous(speech):
    """The same sizes under wait-k."""
    return {**speech, "decoder": {**speech["decoder"], **SIMULTANEOUS}}


GOLDEN = {
    "leap_transformer_lm": {
        "symbols": 1000,
        # Layers: 6 * (4 * 512 * 513 + 2 * 512 * 2048 + 2560 + 2 norms of 1024)                       = 18,914,304
        # Embedding and output: 2 * 1000 * 512                                                        =  1,024,000
        "softmax": 19_938_304,
        # 6 attentions with two LeaP networks, 64 -> 16 -> 1: 6 * 2 * 1057                            =     12,684
        "leap": 19_950_988,
        "decoder": stack(6, 512, 8, 2048, **LM),
        "tied": [],
    },
    "leap_transformer_lm_wiki103": {
        "symbols": 267_744,
        # Layers: 16 * (4 * 1024 * 1025 + 2 * 1024 * 4096 + 5120 + 2 norms of 2048)                   = 201,539,584
        # Bands: 20,000 words of 1024, 40,000 of 256, 207,744 of 64                                   =  44,015,616
        # Their projections, also those of the output: (1024 + 256 + 64) * 1024                       =   1,376,256
        # The two rarer bands as classes of the output: 2 * 1024                                      =       2,048
        "softmax": 246_933_504,
        # 16 attentions with two LeaP networks, 128 -> 32 -> 1: 16 * 2 * (129 * 32 + 33)              =     133,152
        "leap": 247_066_656,
        "decoder": stack(16, 1024, 8, 4096, 0.3, 0.1, 0.1, pre_norm=True, **LM),
        "input_bands": [(20_000, 1024), (40_000, 256), (207_744, 64)],
        "output_cutoffs": [20_000, 60_000, 267_744],
        "output_dropout": 0.2,
        "tied": ["bands", "projections"],
    },
    "leap_transformer_lm_tiny": {
        "symbols": 1000,
        # Layers: 4 * (4 * 128 * 129 + 2 * 128 * 512 + 640 + 2 norms of 256), and a norm of 256       =    793,344
        # Embedding, which is the output: 1000 * 128                                                  =    128,000
        "softmax": 921_344,
        # 4 attentions with two LeaP networks, 32 -> 8 -> 1: 4 * 2 * 273                              =      2,184
        "leap": 923_528,
        "decoder": stack(4, 128, 4, 512, pre_norm=True, **{**LM, "final_norm": True}),
        "tied": ["embedding"],
    },
    "leap_convtransformer": BASE_SPEECH,
    "leap_convtransformer_espnet": ESPNET_SPEECH,
    "leap_convtransformer_tiny": TINY_SPEECH,
    "leap_convtransformer_simul_trans": simultaneous(BASE_SPEECH),
    "leap_convtransformer_simul_trans_espnet": simultaneous(ESPNET_SPEECH),
    "leap_convtransformer_simul_trans_tiny": simultaneous(TINY_SPEECH),
}
ARCHITECTURES = pytest.mark.parametrize("arch", GOLDEN)
KINDS = pytest.mark.parametrize("kind", ["leap", "softmax"])


@cache
def built(arch, kind=None, symbols=1000):
    """The model of a command line; without a kind, no attention is named."""
    with torch.device("meta"):
        if "transformer_lm" in arch:
            flags = ("--decoder-self-attention", kind) if kind else ()
            return make_lm(*flags, dictionary=make_dictionary(symbols), arch=arch)
        blocks = ("--encoder-self-attention", "--decoder-self-attention", "--decoder-cross-attention")
        flags = [part for block in blocks for part in (block, kind)] if kind else []
        parser = options.get_training_parser(default_task="speech_to_text")
        args = options.parse_args_and_arch(parser, ["data", "--arch", arch, *flags])
        task = Namespace(target_dictionary=make_dictionary(symbols), source_dictionary=None)
        return ARCH_MODEL_REGISTRY[arch].build_model(args, task)


def model_of(arch, kind):
    """LeaP is what no option gives."""
    return built(arch, None if kind == "leap" else kind, GOLDEN[arch]["symbols"])


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


def shapes(model):
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def the_one(values):
    """The value that all share."""
    first, *others = values
    assert all(value == first for value in others), [first, *others]
    return first


def attention_found(module):
    schedule = module.schedule
    waitk = isinstance(schedule, WaitkSchedule)
    found = {"schedule": (schedule.low, schedule.high, schedule.ratio) if waitk else schedule.__name__}
    if not module.kind.linear:
        return {"kind": module.kind.name, **found}
    for name in ("normalizer_floor", "half_life", "max_positions"):
        found[name] = getattr(module, name)
    if module.kind.proportions == "learned":
        found["leap_factor"] = the_one(module.head_dim / net[0].out_features for net in (module.q_LeaP, module.k_LeaP))
    return {"kind": module.kind.name, **found}


def layer_found(layer):
    blocks = {"self_attention": layer.self_attn, "cross_attention": getattr(layer, "encoder_attn", None)}
    blocks = {name: module for name, module in blocks.items() if module is not None}
    return {
        "dim": the_one([layer.embed_dim, layer.fc1.in_features, layer.fc2.out_features]),
        "heads": the_one(module.num_heads for module in blocks.values()),
        "ffn": layer.fc1.out_features,
        "dropout": layer.dropout_module.p,
        "attention_dropout": the_one(module.dropout_module.p for module in blocks.values()),
        "activation_dropout": layer.activation_dropout_module.p,
        "activation": layer.activation_fn.__name__,
        "normalize_before": layer.normalize_before,
        **{name: attention_found(module) for name, module in blocks.items()},
    }


def stack_found(part, layers, dropout):
    found = the_one(map(layer_found, layers))
    return {
        **found,
        "layers": len(layers),
        "dropout": the_one([found["dropout"], dropout]),
        "final_norm": part.layer_norm is not None,
        "embed_scale": part.embed_scale,
        "positions": type(part.embed_positions).__name__,
    }


def adaptive_found(decoder):
    """Bands, cutoffs and what is tied of an adaptive input and softmax."""
    embedding, output = decoder.embed_tokens.embeddings, decoder.adaptive_softmax
    tails = list(zip(embedding[1:], output.tail))
    same_words = all(tail[-1].weight is band[0].weight for band, tail in tails)
    same_words = same_words and output.head.word_proj.weight is embedding[0][0].weight
    same_projections = all(tail[0].weight is band[1].weight for band, tail in tails)
    return {
        "input_bands": [tuple(band[0].weight.shape) for band in embedding],
        "output_cutoffs": list(output.cutoff),
        "output_dropout": the_one([output.dropout_module.p, *(tail[1].p for tail in output.tail)]),
        "tied": ["bands"] * same_words + ["projections"] * same_projections,
    }


def model_found(model):
    """What the table says, of a built model."""
    decoder = model.decoder
    found = {"decoder": stack_found(decoder, decoder.layers, decoder.dropout_module.p)}
    if hasattr(model, "encoder"):
        encoder = model.encoder
        found["encoder"] = stack_found(encoder, encoder.transformer_layers, encoder.dropout)
        convolutions = [layer for layer in encoder.conv if isinstance(layer, torch.nn.Conv2d)]
        found["convolution"] = [tuple(layer.weight.shape) for layer in convolutions]
    if decoder.adaptive_softmax is not None:
        return {**found, **adaptive_found(decoder)}
    return {**found, "tied": ["embedding"] * (decoder.output_projection.weight is decoder.embed_tokens.weight)}


def expected(arch, kind):
    """The table's entry, for an attention."""
    golden = {key: value for key, value in GOLDEN[arch].items() if key not in ("symbols", "leap", "softmax")}
    if kind == "softmax":
        for part in ("encoder", "decoder"):
            for block in ("self_attention", "cross_attention"):
                if block in golden.get(part, {}):
                    softmax = {"kind": "softmax", "schedule": golden[part][block]["schedule"]}
                    golden[part] = {**golden[part], block: softmax}
    return golden


def test_every_architecture_is_in_the_table():
    registered = [name for name, model in ARCH_MODEL_REGISTRY.items() if model.__module__.startswith("leap_fairseq.")]
    # Those of Long-Range Arena mirror none of fairseq's.
    assert sorted(name for name in registered if not name.startswith("leap_lra")) == sorted(GOLDEN)


@ARCHITECTURES
@KINDS
def test_the_number_of_parameters(arch, kind):
    assert size(model_of(arch, kind)) == GOLDEN[arch][kind]


@ARCHITECTURES
@KINDS
def test_layers_and_attentions(arch, kind):
    assert model_found(model_of(arch, kind)) == expected(arch, kind)


@pytest.mark.parametrize("arch", [arch for arch in GOLDEN if not arch.endswith("_tiny")])
def test_with_softmax_the_parameters_are_those_of_fairseq(arch):
    """By name and shape; the tiny sizes are our own."""
    fairseq_arch = arch.replace("leap_", "").replace("_simul_trans", "")
    assert shapes(model_of(arch, "softmax")) == shapes(built(fairseq_arch, symbols=GOLDEN[arch]["symbols"]))


def test_wikitext_103_makes_267744_symbols():
    """Its 267,735 words, fairseq's four symbols, and words made up to a multiple of 8.

    One of the words is fairseq's own <unk>, which the multiple of 8 hides.
    """
    dictionary = Dictionary()
    for index in range(267_735):
        dictionary.add_symbol(str(index))
    assert len(dictionary) == 267_739
    dictionary.finalize()
    assert len(dictionary) == GOLDEN["leap_transformer_lm_wiki103"]["symbols"] == 267_744


def test_softmax_on_wikitext_103_has_the_published_size():
    """fairseq's examples/language_model/README.md: transformer_lm.wiki103.adaptive has 247M parameters."""
    assert round(size(model_of("leap_transformer_lm_wiki103", "softmax")) / 1e6) == 247
