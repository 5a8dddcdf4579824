"""Every option of fairseq-train, from its own parser, on tiny models: what there is, a value for each, and a run.

A run is a fork of this process, so that no option outlives it.
"""

import argparse
import logging
import os
import sys
import traceback

import numpy as np
import torch
import torch._dynamo  # noqa: F401  (which the first optimizer of every fork would import)
from fairseq import options
from fairseq.data import indexed_dataset
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed import utils as distributed_utils
from fairseq_cli import train as fairseq_train
from lra_data import write_lra
from preloading import PLUGIN
from tiny_models import make_dictionary

from leap_fairseq.speech import FeatureZip, ManifestRow, write_manifest

COMMON = (
    "--cpu --num-workers 0 --seed 1 --optimizer adam --lr 0.01 --max-update 2 --batch-size 4 --log-format simple "
    "--no-epoch-checkpoints"
)
SPEECH = (
    "--task leap_speech_to_text --criterion label_smoothed_cross_entropy --config-yaml config.yaml --encoder-layers 1 "
    "--decoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 16 --decoder-ffn-embed-dim 16 "
    "--encoder-attention-heads 2 --decoder-attention-heads 2 --conv-out-channels 4 --max-source-positions 200 "
    "--max-target-positions 30 --arch"
)
FAMILIES = {
    "lm": (
        "--task leap_language_modeling --arch leap_transformer_lm --tokens-per-sample 12 --decoder-layers 2 "
        "--decoder-embed-dim 16 --decoder-input-dim 16 --decoder-output-dim 16 --decoder-ffn-embed-dim 16 "
        "--decoder-attention-heads 2"
    ),
    "offline": f"{SPEECH} leap_convtransformer",
    "simul": f"{SPEECH} leap_convtransformer_simul_trans",
    "lra": "--task long_range_arena --arch leap_lra_tiny --criterion sequence_classification",
}
"""Of each family of models, the options that a training begins with; they are overridden by what follows them."""


def write_data(folder):
    """Writes the data of all families; returns the folder of each."""
    make_dictionary(40).save(str(folder / "dict.txt"))
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 24), ("train2", 24), ("valid", 8)):
        builder = indexed_dataset.make_builder(str(folder / f"{split}.bin"), impl="mmap", vocab_size=40)
        for index in range(count):
            words = torch.randint(4, 40, (5 + index % 7,), generator=generator)
            builder.add_item(torch.cat((words, torch.tensor([2]))))
        builder.finalize(str(folder / f"{split}.idx"))
        _write_speech(folder, split, count)
    config = "vocab_filename: dict.txt\naudio_root: .\ninput_channels: 1\ninput_feat_per_channel: 80\n"
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    return {"lm": folder, "offline": folder, "simul": folder, "lra": write_lra(folder / "lra", "listops")}


def _write_speech(folder, split, count):
    rng, rows = np.random.default_rng(0), []
    with FeatureZip(folder / f"{split}.zip") as features:
        for index in range(count):
            clip = rng.standard_normal((40 + 5 * (index % 5), 80)).astype(np.float32)
            offset, length = features.add(f"{split}_{index}", clip)
            text = " ".join(f"\u2581w{word}" for word in range(index, index + 4))
            place = f"{split}.zip:{offset}:{length}"
            rows.append(ManifestRow(f"{split}_{index}", place, len(clip), text, text, "spk", "en", "de"))
    write_manifest(folder / f"{split}.tsv", rows)


def command(family, folders, *more):
    """The command line of a training."""
    return [str(folders[family]), "--user-dir", str(PLUGIN), *COMMON.split(), *FAMILIES[family].split(), *more]


def parse(words):
    """fairseq's parser with all options of the words' model, task, optimizer ..., and what it makes of them."""
    parsers, parse_args = [], argparse.ArgumentParser.parse_args

    def noting(self, *args, **kwargs):
        parsers.append(self)
        return parse_args(self, *args, **kwargs)

    argparse.ArgumentParser.parse_args = noting
    try:
        args = options.parse_args_and_arch(options.get_training_parser(), words)
    finally:
        argparse.ArgumentParser.parse_args = parse_args
    return parsers[-1], args


def flags_of(parser):
    """The options of a parser: {flag: (title of its group, action)}."""
    return {
        action.option_strings[0]: (group.title, action)
        for group in parser._action_groups
        for action in group._group_actions
        if action.option_strings and action.dest != "help"
    }


def another(action, value):
    """Words that give an option another value than this one, by its type alone.

    Raises:
        ValueError: an option that takes a text of its own.
    """
    if action.nargs == 0:
        return []
    if action.choices:
        return [next(str(choice) for choice in action.choices if str(choice) != str(value))]
    if action.type is int:
        return [str((value or 0) + 1)]
    if action.type is float:
        return [str((value or 0) / 2 + 0.1)]
    raise ValueError(f"a value of {action.option_strings[0]} must be chosen by hand")


def outcome(words, log):
    """Trains in a fork; returns "trained", or the last words of what refused it.

    Args:
        words: of fairseq-train.
        log: path of a file for what it prints.
    """
    child = os.fork()
    if child == 0:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        # That of pytest keeps what is written to it.
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)
        os._exit(_train(words))
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended == 0:
        return "trained"
    return log.read_text(encoding="utf-8", errors="replace").strip()[-1500:] or f"ended with {ended}"


def _train(words):
    logging.disable(logging.NOTSET)
    try:
        _, args = parse(words)
        distributed_utils.call_main(convert_namespace_to_omegaconf(args), fairseq_train.main)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException as error:
        os.write(2, "".join(traceback.format_exception_only(error)).encode())
        return 1
    return 0
