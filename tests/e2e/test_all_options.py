"""Every option of fairseq-train, from its own parser: it trains two updates, or is refused by its name.

Options that do not disturb each other are trained together, and apart if that fails. Options of models are also in
tests/models/test_option_effects.py.
"""

import logging
import re

import pytest
from option_runs import FAMILIES, another, command, flags_of, outcome, parse, write_data

TOGETHER = 20
"""Options in one run."""

CHOSEN = {
    "--arch": "the family itself",
    "--task": "the family itself",
    "--user-dir": "this plugin",
    "--cpu": "of all runs",
}
"""What the families are made of, and not an option to be tried."""

VALUES = {
    **{"--log-file": "{folder}/log", "--tensorboard-logdir": "{folder}/board", "--plasma-path": "{folder}/plasma"},
    **{"--aim-repo": "{folder}/aim", "--aim-run-hash": "x", "--wandb-project": "x", "--azureml-logging": ""},
    **{"--criterion": "label_smoothed_cross_entropy", "--dataset-impl": "mmap", "--optimizer": "sgd"},
    **{"--max-tokens": "2000", "--max-tokens-valid": "2000", "--batch-size-valid": "2", "--update-freq": "2"},
    **{"--train-subset": "train2", "--valid-subset": "train2", "--gen-subset": "train2", "--lr": "0.02"},
    **{"--shorten-data-split-list": "train", "--output-dictionary-size": "30", "--max-target-positions": "64"},
    **{"--max-source-positions": "300", "--update-epoch-batch-itr": "True", "--adam-betas": "(0.8,0.9)"},
    **{"--optimizer-overrides": "{{}}", "--best-checkpoint-metric": "ppl", "--checkpoint-suffix": "x"},
    **{
        "--save-dir": "{folder}/other",
        "--restore-file": "x.pt",
        "--continue-once": "x.pt",
        "--lra-task": "listops",
        "--lra-max-length": "30",
    },
    **{"--config-yaml": "other.yaml", "--attention": "relu", "--tokens-per-sample": "16", "--waitk-lagging": "1"},
    **{"--decoder-layers-to-keep": "0", "--attention-half-life": "4", "--encoder-segment": "7"},
    **{
        "--decoder-attention-half-life": "4",
        "--encoder-attention-half-life": "4 --encoder-visibility segment --encoder-segment 7",
        "--attention-learned-pace": "--attention-half-life 4",
        "--decoder-attention-learned-pace": "--decoder-attention-half-life 4",
        "--encoder-attention-learned-pace": "--encoder-attention-half-life 4 --encoder-visibility segment "
        "--encoder-segment 7",
    },
    **{"--adaptive-softmax-cutoff": "20,30 --criterion adaptive_loss --ddp-backend legacy_ddp"},
    **{"--adaptive-input": "--adaptive-input-cutoff 20,30", "--adaptive-input-cutoff": "20,30"},
    **{
        "--fixed-pre-decision-ratio": "14",
        "--encoder-visibility": "segment --encoder-segment 7",
        "--character-filters": "[(1,8)]",
    },
    **{f"--{side}-attention-heads": "4" for side in ("encoder", "decoder")},
    **{f"--{side}-embed-dim": "48" for side in ("encoder", "decoder")},
    **{f"--pipeline-{side}": "1" for side in ("balance", "devices", "chunks")},
    **{f"--pipeline-{side}-{what}": "1" for side in ("encoder", "decoder") for what in ("balance", "devices")},
    **{f"--{name}-attention": "relu" for name in ("encoder-self", "decoder-self", "decoder-cross")},
    **{"--distributed-backend": "gloo", "--slowmo-base-algorithm": "sgp"},
    **{"--distributed-init-method": "file://{folder}/rendezvous --distributed-backend gloo --distributed-no-spawn"},
    **{"--leap-factor": "1", "--eos": "2", "--pad": "1", "--unk": "3"},
    "--fixed-pre-decision-ratio": "14",
}
"""Values that the type of an option does not give, and what must stand beside it."""

OF_FAMILY = {("lra", "--train-subset"): "valid", ("lra", "--valid-subset"): "test"}
"""Other values in one family."""

REFUSED = {
    "--tpu": ("", "--tpu needs the Python module torch_xla"),
    "--use-plasma-view": ("", "--use-plasma-view needs the Python module pyarrow.plasma"),
    "--model-parallel-size": ("2", "install the megatron submodule"),
    "--quantization-config-path": ("/nowhere.yaml", "/nowhere.yaml"),
    "--self-target": ("", "language modeling target: self"),
    "--past-target": ("", "language modeling target: past"),
    "--fp16-adam-stats": ("", "--fp16-adam-stats is only supported"),
    "--distributed-world-size": ("2", "--distributed-world-size 2 needs --distributed-no-spawn"),
    "--pipeline-model-parallel": ("", "--pipeline-balance is currently required"),
    "--zero-sharding": ("os", "install the fairscale package"),
    "--cpu-offload": ("", "--cpu-offload requires --ddp-backend=fully_sharded"),
    "--multitask-config-yaml": ("nowhere.yaml", "nowhere.yaml"),
    "--finetune-from-model": ("/nowhere.pt", "/nowhere.pt"),
    "--ema-seed-model": ("/nowhere.pt --store-ema", "/nowhere.pt"),
    **{f"--scale-{what}": ("", f"--scale-{what} has no effect") for what in ("attn", "heads", "fc", "resids")},
    "--decoder-xformers-att-config": ("x", "--decoder-xformers-att-config has no effect"),
    "--base-layers": ("1", "--base-layers has no effect"),
    "--tie-adaptive-weights": ("", "--tie-adaptive-weights needs --adaptive-input"),
    "--quant-noise-scalar": ("0.5", "--quant-noise-scalar needs a GPU"),
    **{f"--load-pretrained-{p}-from": ("/nowhere.pt", f"--load-pretrained-{p}-from") for p in ("encoder", "decoder")},
}
"""Options that end in an error here: the words behind them, and what the error says."""

ALONE = (
    *("--bf16", "--fp16", "--amp", "--memory-efficient-bf16", "--memory-efficient-fp16", "--suppress-crashes"),
    *("--optimizer", "--lr-scheduler", "--criterion", "--adaptive-input", "--adaptive-softmax-cutoff"),
    *("--restore-file", "--config-yaml", "--character-embeddings", "--carry-state", "--scoring"),
    "--share-decoder-input-output-embed",
    *("--distributed-init-method", "--distributed-no-spawn", "--ddp-backend"),
)
"""Options that change what others mean."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    folders = write_data(folder)
    (folder / "other.yaml").write_text((folder / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return folders


class Walk:
    """Trainings of one family.

    Args:
        family: a key of FAMILIES.
        folders: of the data.
        folder: for what is written.
    """

    def __init__(self, family, folders, folder):
        self.family, self.folders, self.folder, self.runs = family, folders, folder, 0
        logging.disable(logging.CRITICAL)
        parser, args = parse(command(family, folders))
        logging.disable(logging.NOTSET)
        self.defaults, self.flags = vars(args), flags_of(parser)

    def train(self, *words):
        """How a training with these words ends."""
        self.runs += 1
        save = ("--save-dir", str(self.folder / f"save_{self.runs}"))
        return outcome(command(self.family, self.folders, *save, *words), self.folder / "output")

    def words(self, flag):
        """The option with a value that it does not have by default."""
        text = OF_FAMILY.get((self.family, flag), VALUES.get(flag))
        if text is not None:
            return [flag, *text.format(folder=self.folder).split()]
        action = self.flags[flag][1]
        default = self.defaults.get(action.dest, action.default)
        return [flag, *another(action, default if default != "==SUPPRESS==" else None)]

    def failures(self, flags):
        """Of options that are trained together, those that fail, and how."""
        ended = self.train(*(word for flag in flags for word in self.words(flag)))
        if ended == "trained":
            return {}
        if len(flags) == 1:
            return {flags[0]: ended}
        half = len(flags) // 2
        found = {**self.failures(flags[:half]), **self.failures(flags[half:])}
        return found or {" ".join(flags): ended}


def groups(flags):
    """Lists of options that are trained together."""
    several = [flag for flag in flags if flag not in ALONE]
    return [[flag] for flag in flags if flag in ALONE] + [
        several[first : first + TOGETHER] for first in range(0, len(several), TOGETHER)
    ]


@pytest.fixture(scope="module", params=FAMILIES)
def walk(request, folders, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # Where wandb is installed, it would ask for an account.
        patch.setenv("WANDB_MODE", "disabled")
        yield Walk(request.param, folders, tmp_path_factory.mktemp(request.param))


@pytest.mark.exhaustive
def test_every_option_trains(walk):
    flags = [flag for flag in walk.flags if flag not in CHOSEN and flag not in REFUSED]
    assert len(flags) > 150
    wrong = {}
    for together in groups(flags):
        wrong.update(walk.failures(together))
    assert not wrong, "\n".join(f"{flag}: {ended[-300:]}" for flag, ended in wrong.items())


@pytest.mark.exhaustive
def test_what_does_not_train_is_refused_by_its_name(walk):
    wrong = {}
    for flag in walk.flags.keys() & REFUSED.keys():
        words, message = REFUSED[flag]
        ended = walk.train(flag, *words.split())
        if ended == "trained" or not re.search(message, ended):
            wrong[flag] = ended
    assert not wrong, "\n".join(f"{flag}: {ended[-300:]}" for flag, ended in wrong.items())


def test_the_control_that_an_option_which_fails_is_found(walk, monkeypatch):
    monkeypatch.setitem(VALUES, "--curriculum", "many")
    found = walk.failures(["--log-interval", "--curriculum", "--no-save"])
    assert list(found) == ["--curriculum"] and "--curriculum: invalid int value: 'many'" in found["--curriculum"]
