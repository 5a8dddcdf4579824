"""A command that is forked composes the configuration that it composes in a process of its own."""

import json
import os
import subprocess
import sys

from forked_commands import ForkedCommands
from preloading import PLUGIN

PROGRAM = """
import json, sys
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf
config = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser()))
print(json.dumps(OmegaConf.to_container(config), sort_keys=True, default=str))
"""
OPTIONS = [
    *("data", "--user-dir", str(PLUGIN), "--task", "leap_language_modeling", "--arch", "leap_transformer_lm_tiny"),
    *("--adam-betas", "(0.9, 0.98)", "--optimizer", "adam", "--lr", "0.1", "--attention-half-life", "4-512"),
]


def test_a_configuration(tmp_path):
    path = tmp_path / "compose.py"
    path.write_text(PROGRAM, encoding="utf-8")
    own = subprocess.run([sys.executable, path, *OPTIONS], stdout=subprocess.PIPE, check=True, cwd=tmp_path, text=True)
    expected = json.loads(own.stdout.splitlines()[-1])
    assert expected["optimization"]["lr"] == [0.1] and expected["model"]["attention_half_life"] == "4-512"
    with ForkedCommands(dict(os.environ)) as forked:
        # The second one finds what the first has left.
        for _ in range(2):
            code, output = forked.run(path, *OPTIONS, cwd=tmp_path)
            assert code == 0, output
            assert json.loads(output.splitlines()[-1]) == expected
