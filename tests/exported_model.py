"""A translator with random weights as `leap-fairseq export` leaves it, for tests of command lines."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from fairseq.data import Dictionary
from random_translator import TEXTS
from tiny_models import SMALL_SPEECH, make_speech_model

from leap_fairseq.speech import train_vocabulary, write_data_config

RATIO = 4
"""Frames of its pre-decision."""


def write_model(folder, seed=0, **changes):
    """Writes the folder, of a translator trained for k = 1 to 9; returns its path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    train_vocabulary(TEXTS, folder / "spm", 60, "unigram")
    np.savez(folder / "gcmvn.npz", mean=np.full(80, 10.0, np.float32), std=np.full(80, 3.0, np.float32))
    write_data_config(folder / "config.yaml", "spm")
    arch = "leap_convtransformer_simul_trans_tiny"
    options = {"waitk_lagging": "1-9", "fixed_pre_decision_ratio": RATIO, "decoder_cross_attention": "leap", **changes}
    model = make_speech_model(arch, Dictionary.load(str(folder / "spm.txt")), seed, **options)
    history = [{"optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 1}]
    cfg = {
        "task": Namespace(_name="speech_to_text", task="speech_to_text", data=".", config_yaml="config.yaml", seed=1),
        "model": Namespace(**{**SMALL_SPEECH, **options, "arch": arch, "_name": arch}),
    }
    state = {"args": None, "model": model.state_dict(), "optimizer_history": history, "cfg": cfg}
    torch.save({**state, "extra_state": {"train_iterator": {"epoch": 1}}}, folder / "checkpoint.pt")
    return folder
