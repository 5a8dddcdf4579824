"""New attentions that learn from the old ones, before the model is trained on: each block alone, all at the same time.

The old model reads a few batches. What enters one of its attentions also enters the new one of its place, whose output
is drawn to that of the old. The values and what is made of them stay as they are, and no error passes from layer to
layer, so that few updates do what a training of the whole model needs many for.

Source: Zhang et al., The Hedgehog & the Porcupine, ICLR 2024, section 4.2, where the weights are compared; outputs are
there without the quadratic form, and count a key by what its value changes.

Shape legend: T queries, B batch, C model dimension.
"""

import itertools
import logging
import math
import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import torch
from fairseq import utils
from fairseq.tasks import FairseqTask
from torch import Tensor, nn

from leap_fairseq.files import DataError
from leap_fairseq.models.checked import load_model
from leap_fairseq.models.data_places import data_folder

logger = logging.getLogger(__name__)

LOGGED = 10
"""Updates between two lines of the log."""


@dataclass(frozen=True)
class Distillation:
    """How new attentions learn from old ones.

    Args:
        updates: as many batches.
        lr: Adam's learning rate, which is reached after a tenth of the updates and falls to zero.
        data: folder of the data (default: the one of training, as the checkpoint remembers it, or the first place near
            the checkpoint; see :mod:`leap_fairseq.models.data_places`).
        subset: of the data (default: likewise).
        device: of torch.

    Raises:
        ValueError: less than one update, or no learning rate above 0.
    """

    updates: int
    lr: float = 1e-2
    data: Optional[str] = None
    subset: Optional[str] = None
    device: str = "cpu"

    def __post_init__(self):
        if self.updates < 1:
            raise ValueError(f"--distill-updates {self.updates} must be at least 1: leave it out for none")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"--distill-lr {self.lr:g} must be a number above 0")

    def lr_at(self, update: int) -> float:
        """The learning rate of an update, counted from 0."""
        warmup = max(1, self.updates // 10)
        return self.lr * min((update + 1) / warmup, (self.updates - update) / self.updates)


def distill(old: Mapping[str, Any], new: Mapping[str, Any], path: Path, how: Distillation) -> List[float]:
    """Trains the attentions by which a checkpoint differs from another one.

    Args:
        old: checkpoint of a model with softmax attention.
        new: the same with other attentions; its weights are replaced by those that were trained.
        path: of its file, for messages.
        how: how much, and on which data.

    Returns:
        The error of each update: mean squared difference of the outputs over the old ones' mean square, the mean over
        the attentions.

    Raises:
        FileNotFoundError: no such data.
        ValueError: another dictionary than the model's, or nothing that differs.
    """
    overrides = {"data": _data_of(old, path) if how.data is None else str(how.data)}
    theirs, cfg, task = load_model(old, path, overrides)
    ours, _, _ = load_model(new, path, overrides, task=task)
    for model in (theirs, ours):
        model.to(how.device).eval()
    pairs = attention_pairs(theirs, ours)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        subset = how.subset or (old["cfg"].get("dataset") or {}).get("train_subset") or "train"
        batches = _batches(task, theirs, subset, cfg.dataset)
        samples = (utils.apply_to_sample(lambda x: x.to(how.device), batch["net_input"]) for batch in batches)
        errors = train_attentions(theirs, pairs, samples, how)
    trained = {f"{name}.{part}": x for name, (_, b) in pairs.items() for part, x in b.state_dict().items()}
    new["model"].update({name: x.to(new["model"][name]) for name, x in trained.items()})
    return errors


def attention_pairs(old: nn.Module, new: nn.Module) -> Dict[str, Tuple[nn.Module, nn.Module]]:
    """The attentions of two models that differ in kind, by name; a new one gets the schedule of the old one.

    Raises:
        ValueError: there is none.
    """
    found = zip(_attentions(old), _attentions(new))
    pairs = {name: (before, after) for (name, before), (_, after) in found if before.kind != after.kind}
    if not pairs:
        raise ValueError("no attention differs: there is nothing to distill")
    for before, after in pairs.values():
        # What draws a k for the one draws it for the other.
        after.schedule = before.schedule
    return pairs


def train_attentions(
    model: nn.Module, pairs: Mapping[str, Tuple[nn.Module, nn.Module]], samples: Iterator[dict], how: Distillation
) -> List[float]:
    """Trains new attentions on what enters the old ones.

    Args:
        model: that has the old ones.
        pairs: of each attention, by its name, the old and the new one.
        samples: what the model reads, without end.
        how: as for :func:`distill`, as are the results.
    """
    held: Dict[str, Tuple[tuple, dict, tuple]] = {}
    hooks = [
        before.register_forward_hook(lambda _, *call, name=name: held.update({name: call}), with_kwargs=True)
        for name, (before, _) in pairs.items()
    ]
    kept = ("v_proj", "out_proj")
    parameters = [p for _, new in pairs.values() for name, p in new.named_parameters() if not name.startswith(kept)]
    optimizer = torch.optim.Adam(parameters, lr=how.lr, betas=(0.9, 0.98))
    # In a mode of training, the decoder draws a k; what drops numbers is below it, and has its own.
    model.decoder.training = True
    errors = []
    for update, sample in zip(range(how.updates), samples):
        with torch.no_grad():
            model(**sample)
        losses = torch.stack([output_error(new, *held[name]) for name, (_, new) in pairs.items()])
        optimizer.param_groups[0]["lr"] = how.lr_at(update)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        errors.append(float(losses.detach().mean()))
        if (update + 1) % LOGGED == 0 or update + 1 == how.updates:
            logger.info("distillation, update %d of %d: error %.4f", update + 1, how.updates, errors[-1])
    for hook in hooks:
        hook.remove()
    return errors


def output_error(attention: nn.Module, args: tuple, kwargs: Dict[str, Any], output: tuple) -> Tensor:
    """How far the output of an attention is from that of another one.

    Args:
        attention: the new one.
        args, kwargs: what the other was called with, in fairseq's form.
        output: what it gave; the first is [T, B, C].

    Returns:
        The mean squared difference over the other's mean square, without padding.
    """
    inputs = dict(zip(("query", "key", "value", "key_padding_mask"), args), **kwargs)
    mine = attention(**{**inputs, "need_weights": False, "attn_mask": None})[0]
    error, size = (mine - output[0]).square(), output[0].square()
    padding = inputs.get("key_padding_mask")
    if padding is not None and inputs["key"] is inputs["query"]:
        kept = ~padding.to(torch.bool).transpose(0, 1)
        error, size = error[kept], size[kept]
    return error.mean() / size.mean().clamp(min=1e-12)


def _data_of(state: Mapping[str, Any], path: Path) -> str:
    """The data of a checkpoint, as its training or a place near it has them."""
    task = state["cfg"]["task"]
    options = vars(task) if isinstance(task, Namespace) else task
    # A text may be divided among several folders, which are left as they are.
    if os.pathsep in options["data"]:
        return options["data"]
    return str(data_folder(path, options["data"], options.get("config_yaml") or "dict.txt"))


def _attentions(model: nn.Module) -> List[Tuple[str, nn.Module]]:
    return [
        (name, module)
        for name, module in model.named_modules()
        if hasattr(module, "absorb") and hasattr(module, "kind")
    ]


def _batches(task: FairseqTask, model: nn.Module, subset: str, sizes: Any) -> Iterator[dict]:
    """Batches of the size of the training, in another order in each epoch, without end."""
    task.load_dataset(subset)
    longest = utils.resolve_max_positions(task.max_positions(), model.max_positions())
    tokens = sizes.max_tokens or (None if sizes.batch_size else 4096)
    for epoch in itertools.count(1):
        batches = task.get_batch_iterator(
            *(task.dataset(subset), tokens, sizes.batch_size, longest), ignore_invalid_inputs=True, epoch=epoch
        )
        if not len(batches):
            raise DataError(f"the subset {subset} has no batch to learn from: give another one (--train-subset)")
        yield from batches.next_epoch_itr(shuffle=True)
