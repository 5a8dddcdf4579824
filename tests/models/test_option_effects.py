"""An option of a model has an effect, or is refused by its name, or a table says why it has none.

The options come from fairseq's parser. Of each family of models, one step of training is computed with and without the
option, from the same seed: weights, loss or gradients must differ.
"""

import argparse
import copy
import functools
import random

import numpy as np
import pytest
import torch
from fairseq import tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from option_runs import FAMILIES, another, command, flags_of, parse, write_data

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")]

ADAPTIVE = "--criterion adaptive_loss --ddp-backend legacy_ddp --adaptive-softmax-cutoff 20,30"
BANDS = "--adaptive-input --adaptive-input-cutoff 20,30"
TIED = f"{ADAPTIVE} {BANDS} --tie-adaptive-weights"
CASES = {
    "--adaptive-softmax-cutoff": ("10,30", ADAPTIVE),
    "--adaptive-softmax-dropout": ("0.3", ADAPTIVE),
    "--adaptive-softmax-factor": ("2", ADAPTIVE),
    "--adaptive-input": ("", "--adaptive-input-cutoff 20,30"),
    "--adaptive-input-cutoff": ("10,30", BANDS),
    "--adaptive-input-factor": ("2", BANDS),
    "--tie-adaptive-weights": ("", f"{ADAPTIVE} {BANDS}"),
    "--tie-adaptive-proj": ("", TIED),
    "--character-filters": ("[(1,8)]", "--character-embeddings"),
    "--character-embedding-dim": ("8", "--character-embeddings"),
    "--char-embedder-highway-layers": ("1", "--character-embeddings"),
    "--quant-noise-pq-block-size": ("4", "--quant-noise-pq 0.5"),
    "--decoder-layers-to-keep": ("0", ""),
    "--attention-half-life": ("4", ""),
    "--decoder-attention-half-life": ("4", ""),
    "--encoder-attention-half-life": ("4", "--encoder-visibility segment --encoder-segment 7"),
    "--attention-learned-pace": ("", "--attention-half-life 4"),
    "--decoder-attention-learned-pace": ("", "--decoder-attention-half-life 4"),
    "--encoder-attention-learned-pace": (
        "",
        "--encoder-attention-half-life 4 --encoder-visibility segment --encoder-segment 7",
    ),
    "--waitk-lagging": ("1", ""),
    "--encoder-visibility": ("segment", "--encoder-segment 7"),
    "--encoder-segment": ("1", "--encoder-visibility segment --encoder-segment 7"),
    "--leap-factor": ("8", ""),
    "--normalizer-floor": ("50", ""),
    "--no-decoder-final-norm": ("", "--decoder-normalize-before"),
    **{f"--{name}-attention": ("relu", "") for name in ("encoder-self", "decoder-self", "decoder-cross")},
    "--attention-features": ("16", "--attention performer"),
    "--attention-block": ("4", "--attention local"),
    "--attention-hashes": ("1", "--attention reformer"),
    "--attention-random-blocks": ("1", "--attention bigbird --attention-block 4"),
    **{f"--{side}-attention-heads": ("4", "") for side in ("encoder", "decoder")},
    **{f"--{side}-embed-dim": ("48", "") for side in ("encoder", "decoder")},
    **{f"--decoder-{side}-dim": ("32", "") for side in ("input", "output")},
}
"""Of an option: a value that its type alone does not give, and the options beside which it matters."""

REFUSED = {
    **dict.fromkeys(("--scale-attn", "--scale-heads", "--scale-fc", "--scale-resids"), ""),
    "--base-layers": "1",
    **({} if torch.cuda.is_available() else {"--quant-noise-scalar": "0.5"}),
    "--decoder-xformers-att-config": "x",
    "--load-pretrained-encoder-from": "/nowhere.pt",
    "--load-pretrained-decoder-from": "/nowhere.pt",
}
"""Options that are refused, with a text that they take."""

WITHOUT_EFFECT = {
    "--input-feat-per-channel": "fairseq's speech tasks take it from the data YAML",
    **dict.fromkeys(("--base-sublayers", "--base-shuffle"), "a part of --base-layers, which is refused"),
    "--min-params-to-wrap": "of training sharded over processes, --ddp-backend fully_sharded",
    "--checkpoint-activations": "saves memory, and computes the same",
    "--offload-activations": "saves memory, and computes the same",
}
"""Options that change nothing of a step in one process, and why."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@functools.cache
def _composed(words):
    return convert_namespace_to_omegaconf(parse(list(words))[1])


def configuration(family, folders, words=()):
    """fairseq's configuration of a command and that of its model; composed once for a family and criterion."""
    composed = command(family, folders, *(ADAPTIVE.split() if "--criterion" in words else ()))
    cfg, args = _composed(tuple(composed)), parse(command(family, folders, *words))[1]
    if isinstance(cfg.model, argparse.Namespace):
        return cfg, args
    model = copy.deepcopy(cfg.model)
    model.update({name: value for name, value in vars(args).items() if name in model})
    return cfg, model


def step(cfg, options):
    """Weights, loss and gradients of one step of training."""
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(1)
    model, criterion = task.build_model(options).train(), task.build_criterion(cfg.criterion)
    task.load_dataset("train")
    dataset = task.dataset("train")
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(2)
    loss = criterion(model, dataset.collater([dataset[index] for index in range(4)]))[0]
    loss.backward()
    named = {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **model.state_dict(), **named}


@pytest.fixture(scope="module")
def step_beside(folders):
    """A function: the step with what stands beside an option, computed once."""
    return functools.cache(lambda family, words=(): step(*configuration(family, folders, words)))


def same(a, b):
    return a.keys() == b.keys() and all(a[name].shape == b[name].shape and torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_option_of_a_model_has_an_effect(family, folders, step_beside):
    flags = flags_of(parse(command(family, folders))[0])
    cfg = _composed(tuple(command(family, folders)))
    wrong = {}
    for flag, (title, action) in flags.items():
        if title == "Model-specific configuration" and flag not in WITHOUT_EFFECT:
            value = getattr(cfg.model, action.dest, None)
            found = effect(family, folders, flag, action, value, step_beside)
            if found != ("refused" if flag in REFUSED else "changed"):
                wrong[flag] = found
    assert not wrong


def effect(family, folders, flag, action, default, step_beside):
    text, beside = CASES.get(flag) or (REFUSED.get(flag), "")
    value = text.split() if text is not None and (text or action.nargs == 0) else another(action, default)
    before = tuple(beside.split())
    try:
        with_it = step(*configuration(family, folders, (*before, flag, *value)))
    except (ValueError, FileNotFoundError) as error:
        return "refused" if flag in str(error) else f"refused without its name: {error}"
    except Exception as error:
        return f"crashed: {error}"
    return "same" if same(with_it, step_beside(family, before)) else "changed"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_control_that_nothing_changes_without_an_option(family, folders):
    assert same(step(*configuration(family, folders)), step(*configuration(family, folders)))


def test_what_is_said_to_have_no_effect_has_none(folders, step_beside):
    for family in FAMILIES:
        words = command(family, folders)
        for flag, (_, action) in flags_of(parse(words)[0]).items():
            if flag in WITHOUT_EFFECT:
                value = another(action, getattr(_composed(tuple(words)).model, action.dest, None))
                assert same(step(*configuration(family, folders, (flag, *value))), step_beside(family)), flag
