"""The YAML configurations for fairseq-hydra-train are the architecture presets of the same names."""

from pathlib import Path

import pytest
import torch
from fairseq import options, tasks
from fairseq.dataclass.initialize import add_defaults, hydra_init
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny_models import make_dictionary

import leap_fairseq

FOLDER = Path(leap_fairseq.__file__).parent / "config"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
# hydra and fairseq warn of the age of each other's interfaces.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

WITHOUT_MEANING = {
    "_name",  # the preset's own
    "base_shuffle",  # read only where base_layers is above 0
}


def composed(name):
    """The configuration as fairseq-hydra-train composes it; it sets the plugin's folder itself, at run time."""
    hydra_init(name)
    with initialize_config_dir(str(FOLDER), version_base="1.1"):
        cfg = compose(name, overrides=["task.data=data", "common.user_dir=null"])
    add_defaults(cfg)
    return cfg


def preset(name, cfg):
    """The configuration of fairseq-train --arch with the same lengths."""
    parser = options.get_training_parser(default_task="language_modeling")
    argv = ["data", "--arch", name, "--tokens-per-sample", str(cfg.task.tokens_per_sample)]
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, argv))


def parameters(cfg, dictionary_size):
    """Names and shapes of the model's parameters; nothing is allocated."""
    task = tasks.language_modeling.LanguageModelingTask(cfg.task, make_dictionary(dictionary_size))
    with torch.device("meta"):
        model = task.build_model(cfg.model)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def test_every_size_but_the_default_has_a_configuration():
    assert NAMES == ["leap_transformer_lm_tiny", "leap_transformer_lm_wiki103"]


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_preset(name):
    cfg = composed(name)
    expected = preset(name, cfg)
    resolved, wanted = (OmegaConf.to_container(c, resolve=True)["model"] for c in (cfg, expected))
    differences = {key: (resolved.get(key), wanted[key]) for key in wanted if resolved.get(key) != wanted[key]}
    assert set(differences) <= WITHOUT_MEANING, differences
    # Above the highest cutoff of the adaptive softmax.
    size = 60010 if wanted["adaptive_input"] else 50
    assert parameters(cfg, size) == parameters(expected, size)


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_in_its_comment_names_it(name):
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"fairseq-hydra-train --config-dir leap_fairseq/config --config-name {name} task.data=DATA" in text
