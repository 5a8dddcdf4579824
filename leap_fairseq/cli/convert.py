"""Gives a model that was trained with softmax attention another one, and keeps its weights, to be trained on.

    leap-fairseq convert softmax/checkpoint_best.pt converted.pt --attention hedgehog --distill-updates 100
    fairseq-train ... --decoder-self-attention hedgehog --finetune-from-model converted.pt

The model is transformer_lm, convtransformer or convtransformer_simul_trans of fairseq, or one of ours.
"""

import argparse
import sys

from leap_fairseq.cli.model_options import add_data_options, add_device_option

BLOCKS = ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention")
HALF_LIVES = ("attention_half_life", "encoder_attention_half_life", "decoder_attention_half_life")
PACES = tuple(name.replace("half_life", "learned_pace") for name in HALF_LIVES)
OPTIONS = ("leap_factor", "normalizer_floor", *HALF_LIVES, *PACES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options, which are the arguments of :func:`leap_fairseq.models.conversion.convert_checkpoint`."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="that fairseq-train saved of a model with softmax")
    parser.add_argument("out", metavar="OUT.pt", help="the checkpoint to write")
    parser.add_argument("--attention", metavar="KIND", help="of every block that has softmax, such as hedgehog")
    for name in BLOCKS:
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, metavar="KIND", help="of this block (default: --attention, or as it is)")
    parser.add_argument("--leap-factor", metavar="N", type=int, help="as in training (default: the model's)")
    parser.add_argument("--normalizer-floor", metavar="X", type=float, help="likewise")
    for name, of in zip(HALF_LIVES, ("a language model", "the encoder of speech", "its decoder")):
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="TOKENS", help=f"likewise, of {of}")
    for name, of in zip(PACES, HALF_LIVES):
        help = f"likewise, with --{of.replace('_', '-')}"
        parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", default=None, help=help)
    group = parser.add_argument_group("distillation", "The new attentions learn to give what the old ones give.")
    group.add_argument("--distill-updates", metavar="N", type=int, help="from as many batches (default: none)")
    group.add_argument("--distill-lr", metavar="RATE", type=float, default=0.01, help="learning rate")
    add_data_options(group, config_yaml=False)
    group.add_argument("--train-subset", metavar="NAME", help="of the data (default: as in training)")
    add_device_option(group)


def run(options: argparse.Namespace) -> None:
    """Converts, and says what."""
    kinds, others = (
        {n: x for n, x in vars(options).items() if n in names and x is not None} for names in (BLOCKS, OPTIONS)
    )
    if not kinds and options.attention is None:
        raise argparse.ArgumentTypeError("give --attention KIND, or the attention of a block")
    if options.distill_updates is None and (options.data_bin or options.train_subset):
        raise argparse.ArgumentTypeError(
            "--data-bin and --train-subset are those of a distillation: give --distill-updates N"
        )
    from leap_fairseq.models.conversion import convert_checkpoint
    from leap_fairseq.models.distillation import Distillation

    how = None
    if options.distill_updates is not None:
        how = Distillation(
            *(options.distill_updates, options.distill_lr, options.data_bin, options.train_subset, options.device)
        )
    changed = convert_checkpoint(options.checkpoint, options.out, kinds, options.attention, others, how)
    for name, (before, after) in changed.items():
        was = "" if before == after else f" (was {before})"
        sys.stdout.write(f"{options.out}: --{name.replace('_', '-')} {after}{was}\n")
