"""A command that is forked composes the configuration that it composes in a process of its own."""

import json

from preloading import PLUGIN

PROGRAM = """
import json, sys
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf
config = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser()))
print(json.dumps(OmegaConf.to_container(config), sort_keys=True, default=str))
"""
OPTIONS = (
    *("data", "--user-dir", PLUGIN, "--task", "leap_language_modeling", "--arch", "leap_transformer_lm_tiny"),
    *("--adam-betas", "(0.9, 0.98)", "--optimizer", "adam", "--lr", "0.1", "--attention-half-life", "4-512"),
)


def test_a_configuration(run, run_forked, tmp_path):
    path = tmp_path / "compose.py"
    path.write_text(PROGRAM, encoding="utf-8")
    expected = json.loads(run("python", path, *OPTIONS).reason)
    assert expected["optimization"]["lr"] == [0.1] and expected["model"]["attention_half_life"] == "4-512"
    assert json.loads(run_forked(path, *OPTIONS).reason) == expected
    other = json.loads(run_forked(path, *OPTIONS, "--clip-norm", 3).reason)
    assert other["optimization"].pop("clip_norm") == 3 != expected["optimization"].pop("clip_norm")
    assert other == expected
