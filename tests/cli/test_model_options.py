"""One name and one set of values for what commands over a model share; what they were called before still works."""

import importlib
import re

import pytest
import torch

from leap_fairseq.cli import COMMANDS, command, export, translate
from leap_fairseq.cli.model_options import DTYPES, torch_dtype

WITHOUT_DATA = {"average"}
"""It reads weights alone."""


def parsers():
    """The parsers of all commands that read a checkpoint, by name."""
    found = {}
    for name in COMMANDS:
        module = importlib.import_module(COMMANDS[name][0])
        if not hasattr(module, "COMMANDS"):
            parser = command.command_parser(module)
            choices = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
            found |= {f"{name} {kind}": sub for each in choices for kind, sub in each.items()} or {name: parser}
    return {name: each for name, each in found.items() if {"model", "checkpoint"} & {a.dest for a in each._actions}}


PARSERS = parsers()


def test_these_commands_read_a_checkpoint():
    assert set(PARSERS) == {"convert", "evaluate", "export", "plot alignment", "plot proportions", "serve", "translate"}


@pytest.mark.parametrize("name", PARSERS)
def test_each_takes_the_folder_of_its_data_under_one_name(name):
    options = {text: action for action in PARSERS[name]._actions for text in action.option_strings}
    assert options["--data-bin"].dest == options["--data"].dest == "data_bin"
    text = PARSERS[name].format_help()
    assert "--data-bin DIR" in text and "--data " not in text
    assert ("--config-yaml NAME" in text) == (name != "convert")
    assert "--device" not in options or options["--device"].default == "cpu"
    if "--dtype" in options:
        assert options["--dtype"].choices == list(DTYPES) and options["--dtype"].default in (None, "fp32")


@pytest.mark.parametrize("short", DTYPES)
def test_types_have_a_short_and_a_long_name(short):
    parser = command.command_parser(translate)
    for text in (short, DTYPES[short]):
        assert parser.parse_args(["x.wav", "--dtype", text]).dtype == short
    assert torch_dtype(short) is {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[short]
    assert torch_dtype(None) is None


def test_another_type_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.command_parser(export).parse_args(["a", "b", "--dtype", "int8"])
    assert "'int8' (choose from" in capsys.readouterr().err


@pytest.mark.parametrize(
    "device, message", [("gpu", "'gpu' is no device of torch"), ("cuda:99", "no cuda:99 is here: torch .* GPUs: give")]
)
def test_a_device_that_is_not_there_is_refused(capsys, device, message):
    for name in ("translate", "convert"):
        with pytest.raises(SystemExit):
            PARSERS[name].parse_args(["a", "b", "--device", device])
        assert re.search(f"argument --device: {message}", capsys.readouterr().err)


def test_an_older_name_is_as_good():
    parser = command.command_parser(export)
    given = [parser.parse_args(["a", "b", *words]) for words in (["--data", "d"], ["--data-bin", "d"], [])]
    assert [options.data_bin for options in given] == ["d", "d", None]
