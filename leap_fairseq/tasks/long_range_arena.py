"""``--task long_range_arena``: classification of long sequences, from a folder of ``leap-fairseq prepare lra``.

The folder says which of the five tasks it holds and how large its vocabulary, its classes and its sequences are. A
batch is padded to its longest sequence; batches hold sequences of similar length.

Shape legend: B batch, T tokens.
"""

import logging
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

import numpy as np
import torch
from fairseq.data import FairseqDataset
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.tasks import FairseqTask, register_task
from omegaconf import MISSING

from leap_fairseq.lra import PADDING, TASKS, LraFacts, LraSplit, read_facts
from leap_fairseq.tasks.recorded_training import RecordedTraining

logger = logging.getLogger(__name__)


@dataclass
class LongRangeArenaConfig(FairseqDataclass):
    """Options of ``--task long_range_arena``."""

    data: str = field(default=MISSING, metadata={"help": "folder of `leap-fairseq prepare lra`"})
    lra_task: Optional[ChoiceEnum(TASKS)] = field(
        default=None,
        metadata={"help": "the task that the folder must hold (default: the one that it holds): " + ", ".join(TASKS)},
    )
    lra_max_length: Optional[int] = field(
        default=None,
        metadata={"help": "read this many tokens of a sequence and leave the rest (default: all)"},
    )
    lra_eval_samples: Optional[int] = field(
        default=None,
        metadata={"help": "of valid and of test, read this many samples, the same ones each time (default: all)"},
    )


class LraDataset(FairseqDataset):
    """A split in fairseq's form.

    Args:
        split: the sequences and their labels.
        max_length: tokens that are read of a sequence.
        shuffle: order sequences of the same length by chance.
        samples: how many of the split, drawn by chance but always the same; None for all.
    """

    def __init__(self, split: LraSplit, max_length: int, shuffle: bool = False, samples: Optional[int] = None):
        self.split, self.max_length, self.shuffle = split, max_length, shuffle
        # Files may be sorted by their labels: the first ones would not do.
        self.chosen = np.sort(np.random.default_rng(0).permutation(len(split))[:samples])
        self.lengths = np.minimum(split.lengths[self.chosen], max_length)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Dict[str, Any]:
        tokens, label = self.split[int(self.chosen[index])]
        sides = tokens if self.split.facts.pairs else (tokens,)
        # From the mapped file's small integers into memory of its own.
        sides = [torch.from_numpy(side[: self.max_length].astype(np.int64)) for side in sides]
        return {"id": index, "sides": sides, "label": label}

    def collater(self, samples: List[Dict[str, Any]]) -> Dict[str, Any]:
        """A batch: ``net_input`` for the model, ``target`` int64 [B]."""
        if not samples:
            return {}
        net_input = {}
        for number, sides in enumerate(zip(*(sample["sides"] for sample in samples))):
            name = "src_tokens" if number == 0 else "src_tokens2"
            net_input[name] = torch.nn.utils.rnn.pad_sequence(sides, batch_first=True, padding_value=PADDING)
        return {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": sum(int(side.numel()) for sample in samples for side in sample["sides"]),
            "net_input": net_input,
            "target": torch.tensor([sample["label"] for sample in samples]),
        }

    def num_tokens(self, index: int) -> int:
        """Tokens that a batch pays for."""
        return int(self.lengths[index])

    def size(self, index: int) -> int:
        """Tokens of a sequence, of a pair the longer."""
        return int(self.lengths[index])

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each sequence."""
        return self.lengths

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """Whether all epochs have the same batches.

        fairseq draws those of an epoch from its seed and number, but would keep those of the epoch that it began in: a
        training that was interrupted would go on with others.
        """
        return not self.shuffle

    def ordered_indices(self) -> np.ndarray:
        """Short sequences first; those of one length in the order of the file, or by chance."""
        order = np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
        return order[np.argsort(self.lengths[order], kind="mergesort")]


@register_task("long_range_arena", dataclass=LongRangeArenaConfig)
class LongRangeArenaTask(RecordedTraining, FairseqTask):
    """One of the five tasks of Long-Range Arena.

    Args:
        cfg: the options.
        facts: of the data, with the length to which sequences are cut.

    Source:
        Tay et al., Long Range Arena, ICLR 2021.
    """

    def __init__(self, cfg: LongRangeArenaConfig, facts: LraFacts):
        super().__init__(cfg)
        self.facts = facts

    @classmethod
    def setup_task(cls, cfg: LongRangeArenaConfig, **kwargs):
        """fairseq's hook.

        Raises:
            DataError: the folder is not one of ``leap-fairseq prepare lra``.
            ValueError: it holds another task, or a number is below 1.
        """
        facts = read_facts(cfg.data)
        if cfg.lra_task is not None and str(cfg.lra_task) != facts.task:
            raise ValueError(
                f"{cfg.data} holds {facts.task}, but --lra-task says {cfg.lra_task}: give the folder of that task, or "
                "leave the option out"
            )
        for name in ("lra_max_length", "lra_eval_samples"):
            value = getattr(cfg, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} {value} must be at least 1: leave it out to read all")
        if cfg.lra_max_length is not None:
            facts = facts._replace(max_length=min(facts.max_length, cfg.lra_max_length))
        logger.info(
            "%s: %s, %d classes, up to %d tokens", facts.task, facts.splits, facts.num_classes, facts.max_length
        )
        return cls(cfg, facts)

    def load_dataset(self, split: str, combine: bool = False, **kwargs) -> None:
        """fairseq's hook.

        Raises:
            DataError: there is no such split, or it is damaged.
        """
        training = split == "train"
        samples = None if training else self.cfg.lra_eval_samples
        self.datasets[split] = LraDataset(LraSplit(self.cfg.data, split), self.facts.max_length, training, samples)

    def max_positions(self) -> int:
        """Tokens of the longest sequence."""
        return self.facts.max_length

    @property
    def source_dictionary(self) -> None:
        """There is none: sequences are numbers."""
        return None

    @property
    def target_dictionary(self) -> None:
        """There is none."""
        return None
