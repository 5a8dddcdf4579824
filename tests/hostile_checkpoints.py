"""Checkpoints of the three families, and what a stranger could make of them so that loading one runs code."""

from argparse import Namespace

import torch
from exported_model import write_model
from lra_data import write_lra
from omegaconf import OmegaConf
from tiny_models import make_dictionary

from leap_fairseq.lra import read_facts
from leap_fairseq.models.leap_lra import LeapLraConfig, LeapLraModel
from leap_fairseq.models.leap_transformer_lm import LeapTransformerLanguageModelConfig
from leap_fairseq.models.options import SpeechAttentionOptions
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingConfig, LeapLanguageModelingTask

LM = {"_name": "leap_transformer_lm_tiny", "decoder_layers": 1, "max_target_positions": 64, "base_shuffle": 0}


def defaults(config):
    """The options of a dataclass as fairseq-train saves them."""
    options = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    return {name: value for name, value in options.items() if "${" not in str(value)}


def save(path, model, options, task):
    """Saves a checkpoint as fairseq-train does."""
    history = [{"optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 1}]
    state = {"args": None, "model": model.state_dict(), "optimizer_history": history, "task_state": {}}
    cfg = {"_name": None, "dataset": {"max_tokens": 512, "batch_size": None}, "model": options, "task": task}
    torch.save({**state, "cfg": cfg, "extra_state": {"train_iterator": {"epoch": 1}}}, path)


def write_lm(folder):
    """Writes checkpoint.pt of a language model and its dictionary."""
    folder.mkdir()
    make_dictionary().save(str(folder / "dict.txt"))
    options = OmegaConf.create({**defaults(LeapTransformerLanguageModelConfig), **LM})
    task = {**defaults(LeapLanguageModelingConfig), "_name": "leap_language_modeling"}
    # The architecture completes the options.
    model = LeapLanguageModelingTask(OmegaConf.create(task), make_dictionary()).build_model(options)
    save(folder / "checkpoint.pt", model, OmegaConf.to_container(options), task)


def write_classifier(folder):
    """Writes checkpoint.pt of a model of Long-Range Arena and the data."""
    write_lra(folder, "text")
    options = {**defaults(LeapLraConfig), "_name": "leap_lra", "encoder_layers": 1}
    model = LeapLraModel.build_model(Namespace(**options), Namespace(facts=read_facts(folder)))
    save(folder / "checkpoint.pt", model, options, {"_name": "long_range_arena", "data": "gone"})


def write_translator(folder):
    """Writes a translator as `leap-fairseq export` does."""
    write_model(folder, **defaults(SpeechAttentionOptions))
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    vars(state["cfg"]["task"]).update(max_source_positions=400, max_target_positions=60)
    torch.save(state, folder / "checkpoint.pt")


WRITERS = {"speech": write_translator, "lm": write_lm, "lra": write_classifier}


class Attack:
    """Unpickled, it makes a file."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return open, (str(self.witness), "w")


def change(path, witness, kind):
    """Makes a checkpoint hostile.

    Args:
        path: of the checkpoint; it is written anew.
        witness: of the file that its code would make.
        kind: one of KINDS.
    """
    state = torch.load(path, weights_only=True)
    cfg, code = state["cfg"], f"__import__('pathlib').Path({str(witness)!r}).touch()"
    model, task = (vars(x) if isinstance(x, Namespace) else x for x in (cfg["model"], cfg["task"]))
    convolutional = {"encoder_layers": code, "decoder_layers": code, "decoder_attention": "True", "dropout": 0.0}
    {
        "another architecture": lambda: model.update(convolutional, arch="fconv", _name="fconv"),
        "two architectures": lambda: model.update(convolutional, arch=model["_name"], _name="fconv"),
        "an architecture that is a list": lambda: model.update(arch=["fconv"], _name=["fconv"]),
        "another task": lambda: task.update(task="translation", _name="translation"),
        "text for a number": lambda: model.update(normalizer_floor=code),
        "text that is evaluated": lambda: model.update(adaptive_softmax_cutoff=code),
        "an unknown option": lambda: model.update(encoder_xformers_att_config=code),
        "an unknown option of the task": lambda: task.update(user_module=code),
        "an object": lambda: model.update(dropout=[Namespace(a=1)]),
        "a configuration": lambda: cfg.update(common=OmegaConf.create({"seed": "${oc.env:HOME}"})),
        "text of this machine": lambda: cfg.update(common={"log_file": "${oc.env:HOME}"}),
        "options of old": lambda: state.update(args=Namespace(arch="fconv", task="translation")),
        "weights that are none": lambda: state["model"].update(weight=code),
        "a call": lambda: state["extra_state"].update(attack=Attack(witness)),
    }[kind]()
    torch.save(state, path)


KINDS = {
    "another architecture": "was made for architecture 'fconv', which is not one of ours .*leap_lra.*: use",
    "two architectures": r"was made for architecture \['leap_\w+', 'fconv'\], which is not one of ours",
    "an architecture that is a list": r"was made for architecture \['fconv'\], which is not one of ours",
    "another task": "was made for task 'translation', but leap_",
    "text for a number": "--normalizer-floor is .*__import__.*, but must be a number",
    "text that is evaluated": "adaptive.softmax.cutoff",
    "an unknown option": "there is no option 'encoder_xformers_att_config'",
    "an unknown option of the task": "there is no option 'user_module'",
    "an object": "'dropout' is a Namespace, not numbers and text",
    "a configuration": "'common' is a DictConfig, not numbers and text",
    "text of this machine": "'log_file' is '..oc.env:HOME.', ",
    "options of old": "has no configuration as fairseq-train saves it",
    "weights that are none": "has no weights",
    "a call": "Unsupported global io.open",
}
"""What a stranger can write, and how it is refused."""
