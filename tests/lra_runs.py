"""Trainings and evaluations of Long-Range Arena by fairseq's own functions, in this process.

fairseq takes a second to compose a configuration from a command line, so it is composed once and changed by name.
"""

import copy
import functools
import logging
import re
from pathlib import Path

from fairseq import checkpoint_utils, options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli import train as fairseq_train

import leap_fairseq.models  # noqa: F401  (registers the task)

TRAIN = (
    "unused --task long_range_arena --criterion sequence_classification --cpu --num-workers 0 --seed 1 "
    "--no-progress-bar --arch leap_lra_tiny --optimizer adam --lr 3e-3 --batch-size 8 --max-update 5 "
    "--no-epoch-checkpoints --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric --log-format simple"
)


@functools.cache
def _composed():
    args = options.parse_args_and_arch(options.get_training_parser(), TRAIN.split())
    return convert_namespace_to_omegaconf(args)


def configuration(data, changes):
    """fairseq's configuration with some changes, {"model.attention": "leap", ...}."""
    cfg = copy.deepcopy(_composed())
    for name, value in {"task.data": str(data), **changes}.items():
        section, option = name.split(".")
        assert option in cfg[section], name
        cfg[section][option] = value
    return cfg


def figures(text):
    """Loss, accuracy, right ones and samples of all validations in a log."""
    pattern = r"subset \| loss ([\d.]+) \| accuracy ([\d.]+) \| right (\d+) \| samples (\d+)"
    return [tuple(map(float, found)) for found in re.findall(pattern, text)]


def train(caplog, data, save, **changes):
    """Trains 5 updates of the tiny model; returns the figures of the last validation.

    Args:
        caplog: pytest's.
        data, save: folders.
        changes: options of other sections than the model's by "section__name", the model's by name.
    """
    named = {("" if "__" in name else "model.") + name.replace("__", "."): value for name, value in changes.items()}
    cfg = configuration(data, {"checkpoint.save_dir": str(save), **named})
    caplog.clear()
    with caplog.at_level(logging.INFO):
        fairseq_train.main(cfg)
    return figures(caplog.text)[-1]


def load(checkpoint: Path):
    """The model and the task of a checkpoint."""
    models, _, task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)])
    return models[0].eval(), task
