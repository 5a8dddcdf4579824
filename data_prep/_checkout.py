"""Runs a command of `leap_fairseq.prepare` from a checkout, without installation."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("leap_fairseq") is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def run(name: str) -> None:
    """Runs the command of this name with the words of the command line, and exits."""
    from leap_fairseq.cli import command
    from leap_fairseq.prepare import COMMANDS

    sys.exit(command.main(importlib.import_module(COMMANDS[name][0])))
