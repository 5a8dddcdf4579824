"""Trainings of a tiny language model by fairseq's own functions, in this process, to be stopped and compared.

fairseq takes a second to compose a configuration from a command line, so each is composed once and changed by name.
"""

import copy
import functools
from pathlib import Path

import torch
from fairseq import checkpoint_utils, options
from fairseq.data import indexed_dataset
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import train as fairseq_train
from tiny_models import make_dictionary

import leap_fairseq.models
import leap_fairseq.tasks  # noqa: F401  (registers the task)

EPOCH = 5
"""Updates."""

TRAIN = (
    "unused --arch leap_transformer_lm_tiny --decoder-layers 1 --decoder-embed-dim 8 --decoder-ffn-embed-dim 8 "
    "--decoder-attention-heads 2 --dropout 0.1 --tokens-per-sample 8 --cpu --optimizer adam --lr 0.01 --num-workers 0 "
    "--no-progress-bar --no-epoch-checkpoints"
)
BATCHES = {
    "language_modeling": "--task language_modeling --batch-size 2 --update-freq 2",
    "leap_language_modeling": "--task leap_language_modeling --batch-size 4",
    "carried": "--task leap_language_modeling --carry-state --batch-size 4",
}
"""Options of each way to read the text, with which an epoch has 5 updates."""


def write_text(folder):
    """A folder of data: 18 blocks of 8 tokens and a shorter one to be trained on, 4 to be validated."""
    make_dictionary().save(str(folder / "dict.txt"))
    for split, count in (("train", 149), ("valid", 32)):
        builder = indexed_dataset.make_builder(str(folder / f"{split}.bin"), impl="mmap", vocab_size=20)
        builder.add_item(torch.randint(4, 20, (count,), generator=torch.Generator().manual_seed(count)))
        builder.finalize(str(folder / f"{split}.idx"))
    return folder


PLATEAU = f"{BATCHES['leap_language_modeling']} --lr-scheduler reduce_lr_on_plateau --lr-patience 0 --lr-shrink 0.5"


@functools.cache
def _composed(flags):
    args = options.parse_args_and_arch(options.get_training_parser(), [*TRAIN.split(), *flags.split()])
    return convert_namespace_to_omegaconf(args)


def train(data, save, flags, updates=0, **changes):
    """Trains until `updates` were made (0: until other options say), from the folder's last checkpoint if it has one.

    Args:
        data, save: folders.
        flags: of fairseq-train; those of `BATCHES` for a way to read the text.
        updates: for --max-update.
        changes: other options by section__name.
    """
    cfg = copy.deepcopy(_composed(flags))
    cfg.task.data, cfg.checkpoint.save_dir, cfg.optimization.max_update = str(data), str(save), updates
    for name, value in changes.items():
        section, option = name.split("__")
        assert option in cfg[section], name
        cfg[section][option] = value
    # fairseq keeps the best figure of a process, whichever training it is of.
    vars(checkpoint_utils.save_checkpoint).pop("best", None)
    fairseq_train.main(cfg)
    return Path(save)


def weights(folder, name="checkpoint_last.pt"):
    """The weights of a checkpoint, and what its optimizer keeps of each, by name."""
    state = torch.load(folder / name)
    numbers = {f"model.{name}": weight for name, weight in state["model"].items()}
    for number, kept in state["last_optimizer_state"]["state"].items():
        numbers.update((f"optimizer.{number}.{name}", torch.as_tensor(value)) for name, value in kept.items())
    return numbers


def differing(first, second):
    """The names under which two results of :func:`weights` differ in a bit."""
    assert first.keys() == second.keys()
    return [name for name, number in first.items() if not torch.equal(number, second[name])]


def files(folder):
    """The content of each file of a folder, and when it was written."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
