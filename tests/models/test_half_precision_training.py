"""Training in bfloat16 ends where float32 does, and no step of a training makes a NaN on its way back."""

import copy
import functools

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from tiny_models import make_dictionary

from leap_fairseq.modules import ATTENTION_KINDS
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask

# hydra and torch warn of the age of fairseq's calls, and torch of each detection of anomalies.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SIZES = (
    "--arch leap_transformer_lm_tiny --decoder-layers 2 --decoder-embed-dim 32 --decoder-ffn-embed-dim 64 "
    "--decoder-attention-heads 2 --dropout 0 --optimizer adam --lr 0.003 --clip-norm 1 --cpu"
)
PAD = 1
ADAPTIVE = "--criterion adaptive_loss --adaptive-softmax-cutoff 8,12 --ddp-backend legacy_ddp"


@functools.cache
def _composed(flags):
    parser = options.get_training_parser(default_task="leap_language_modeling")
    return convert_namespace_to_omegaconf(
        options.parse_args_and_arch(parser, ["unused", *SIZES.split(), *flags.split()])
    )


def make_trainer(folder, flags="", kind="leap"):
    """fairseq's own, from a command line; ``--bf16`` keeps the weights that it updates in float32."""
    cfg = copy.deepcopy(_composed(flags))
    cfg.checkpoint.save_dir, cfg.model.decoder_self_attention = str(folder), kind
    task = LeapLanguageModelingTask(cfg.task, make_dictionary())
    torch.manual_seed(0)
    return Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))


def markov_batches(count, rows=8, length=32):
    """Words that follow from the last one or the one before it, each at half of the times."""
    generator = torch.Generator().manual_seed(0)
    follower = torch.stack([torch.randperm(16, generator=generator) for _ in range(2)])
    text = torch.randint(16, (count, rows, length + 1), generator=generator)
    coins = torch.randint(2, text.shape, generator=generator)
    for i in range(2, length + 1):
        text[..., i] = follower[coins[..., i], torch.where(coins[..., i] == 0, text[..., i - 1], text[..., i - 2])]
    return [make_sample(batch + 4) for batch in text]


def make_sample(tokens):
    src, target = tokens[:, :-1], tokens[:, 1:]
    return {
        "id": torch.arange(len(tokens)),
        "nsentences": len(tokens),
        "ntokens": int(target.ne(PAD).sum()),
        "net_input": {"src_tokens": src, "src_lengths": torch.full((len(tokens),), src.shape[1])},
        "target": target.contiguous(),
    }


def padded_sample():
    tokens = torch.randint(4, 20, (4, 33), generator=torch.Generator().manual_seed(0))
    tokens[-1, 20:] = PAD
    return make_sample(tokens)


def loss_of(trainer, batches):
    """Mean over the last 50 updates, bits a token."""
    losses = []
    for batch in batches:
        trainer.train_step([batch])
        losses.append(float(metrics.get_smoothed_value("train_inner", "loss")))
        metrics.reset_meters("train_inner")
    return sum(losses[-50:]) / 50


def test_three_hundred_updates_in_bfloat16_end_where_float32_does(tmp_path):
    batches = markov_batches(300)
    losses = {}
    for flags in ("", "--bf16"):
        trainer = make_trainer(tmp_path, flags)
        assert next(trainer.model.parameters()).dtype == (torch.bfloat16 if flags else torch.float32)
        with metrics.aggregate("train_inner"):
            losses[flags] = loss_of(trainer, batches)
    # It has learned: a word of 16 at random is 4 bits.
    assert losses[""] < 3
    assert losses["--bf16"] == pytest.approx(losses[""], rel=0.02) and losses["--bf16"] != losses[""]


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_a_step_passes_the_detection_of_anomalies(tmp_path, kind, adaptive):
    trainer = make_trainer(tmp_path, ADAPTIVE if adaptive else "", kind)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    with torch.autograd.set_detect_anomaly(True):
        trainer.train_step([padded_sample()])
    for parameter, start in zip(trainer.model.parameters(), before):
        assert torch.isfinite(parameter).all() and not torch.equal(parameter, start)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_control_that_a_nan_on_the_way_back_is_detected(tmp_path, adaptive):
    """The square root of zero is as good as any number on the way forward."""
    trainer = make_trainer(tmp_path, ADAPTIVE if adaptive else "")
    trainer.model.decoder.layers[0].self_attn.register_forward_hook(lambda m, x, out: (out[0] + nothing(out[0]), None))
    with torch.autograd.set_detect_anomaly(True), pytest.raises(RuntimeError, match="returned nan"):
        trainer.train_step([padded_sample()])


def nothing(x):
    return (x * 0).square().sqrt()
