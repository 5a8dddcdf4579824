"""A language model in training, built as fairseq-train builds it, on random tokens; and the memory that this takes."""

import argparse
import time
import warnings
from typing import Any, Dict, NamedTuple

import torch

# isort: split
# Before fairseq, which else lets every library log its details.
import leap_fairseq.models  # noqa: F401

# isort: split
from fairseq import options
from fairseq.data import Dictionary
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from omegaconf import OmegaConf

from benchmarks.measuring import check_positive, used_mib
from leap_fairseq.models.leap_transformer_lm import LeapTransformerLanguageModel, LeapTransformerLanguageModelConfig
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Adds the sizes of the language model."""
    for name, default, of in (
        ("layers", 4, "of the decoder"),
        ("embed-dim", 256, "of the model"),
        ("heads", 4, "of each attention"),
        ("ffn-embed-dim", 1024, "of the feed-forward networks"),
        ("dictionary", 8000, "symbols"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=of)


def check_sizes(sizes: argparse.Namespace) -> None:
    """Refuses sizes of which no model can be built, and blocks (if any) that do not fill a batch.

    Raises:
        ValueError: which option is wrong, and why.
    """
    check_positive(sizes, "layers", "embed_dim", "heads", "ffn_embed_dim")
    if sizes.embed_dim % sizes.heads:
        raise ValueError(f"--embed-dim {sizes.embed_dim} is not divisible by --heads {sizes.heads}")
    if sizes.dictionary < 10:
        raise ValueError(f"--dictionary {sizes.dictionary} must be at least 10, four of which are special")
    for length in getattr(sizes, "lengths", ()):
        if length < 1 or sizes.tokens < 1 or sizes.tokens % length:
            raise ValueError(f"--lengths {length} does not divide --tokens {sizes.tokens}")


class Training(NamedTuple):
    """What an update needs."""

    model: Any
    criterion: Any
    optimizer: Any
    task: LeapLanguageModelingTask

    def update(self, batch: Dict[str, Any]) -> None:
        """Forward, loss, backward, Adam."""
        self.optimizer.zero_grad()
        self.task.train_step(batch, self.model, self.criterion, self.optimizer, 0)
        self.optimizer.step()


def build(attention: str, length: int, sizes: argparse.Namespace) -> Training:
    """A model for blocks of a length, from the options that fairseq-train would be given.

    Args:
        attention: a kind; with "_fading" behind it, it has half-lives and no positions.
        length: tokens of a block.
        sizes: the options of :func:`add_size_options`.
    """
    dictionary = Dictionary()
    for index in range(sizes.dictionary - len(dictionary)):
        dictionary.add_symbol(f"w{index}")
    flags = (
        "no-data --arch leap_transformer_lm_tiny "
        f"--decoder-self-attention {attention.removesuffix('_fading')} --decoder-layers {sizes.layers} "
        f"--decoder-embed-dim {sizes.embed_dim} --decoder-attention-heads {sizes.heads} "
        f"--decoder-ffn-embed-dim {sizes.ffn_embed_dim} --tokens-per-sample {length} --optimizer adam --lr 1e-4"
    )
    if attention.endswith("_fading"):
        flags += " --attention-half-life 4-512 --no-token-positional-embeddings"
    parser = options.get_training_parser(default_task="leap_language_modeling")
    # Not by way of hydra, whose seconds for each model would be most of a small comparison.
    args = options.parse_args_and_arch(parser, flags.split())
    task = LeapLanguageModelingTask(args, dictionary)
    torch.manual_seed(0)
    config = LeapTransformerLanguageModelConfig.from_namespace(args)
    model = LeapTransformerLanguageModel.build_model(config, task).to(sizes.device)
    adam = FairseqAdam(OmegaConf.structured(FairseqAdamConfig.from_namespace(args)), list(model.parameters()))
    return Training(model, task.build_criterion(args), adam, task)


def random_batch(rows: int, length: int, sizes: argparse.Namespace) -> Dict[str, Any]:
    """A batch as fairseq collates it, int64 [rows, length]."""
    text = torch.randint(4, sizes.dictionary, (rows, length + 1), device=sizes.device)
    lengths = torch.full((rows,), length, device=sizes.device)
    net_input = {"src_tokens": text[:, :-1].contiguous(), "src_lengths": lengths}
    target = text[:, 1:].contiguous()
    return {"net_input": net_input, "target": target, "ntokens": rows * length, "nsentences": rows}


def memory_of_training(attention: str, length: int, updates: int, sizes: argparse.Namespace) -> Dict[str, Any]:
    """MiB before the first batch and at the peak, and seconds of the fastest update, all of this process."""
    # hydra's, of what fairseq still uses.
    warnings.simplefilter("ignore")
    training = build(attention, length, sizes)
    # Adam's averages appear with the first update: a token is enough for them.
    training.update(random_batch(1, 1, sizes))
    training.optimizer.zero_grad()
    before, seconds = used_mib(sizes.device, peak=False), []
    for _ in range(updates):
        start = time.perf_counter()
        training.update(random_batch(sizes.tokens // length, length, sizes))
        peak = used_mib(sizes.device, peak=True)
        seconds.append(time.perf_counter() - start)
    return {
        "attention": attention,
        "length": length,
        "before_mib": before,
        "peak_mib": peak,
        "activations_mib": peak - before,
        "seconds": min(seconds),
    }
