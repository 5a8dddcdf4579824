"""The command ``leap-fairseq``: a table of subcommands, each a module that is imported when it is called."""

import argparse
import importlib
import sys
from typing import Dict, List, Optional, Tuple

from leap_fairseq.cli import command
from leap_fairseq.scoring.signature import installed_version

Commands = Dict[str, Tuple[str, str]]
"""Of each subcommand, the module and a line of help. A module with a table of its own is a group."""

COMMANDS: Commands = {
    "prepare": ("leap_fairseq.prepare", "data: corpora, lists of recordings, texts, Long-Range Arena"),
    "average": ("leap_fairseq.cli.average", "one checkpoint from the last ones of a training"),
    "convert": ("leap_fairseq.cli.convert", "a model that was trained with softmax attention to another one"),
    "export": ("leap_fairseq.cli.export", "a trained model as one folder"),
    "evaluate": ("leap_fairseq.cli.evaluate", "stream a test set through a translator with SimulEval, and score it"),
    "score": ("leap_fairseq.cli.score", "quality and latency of SimulEval runs"),
    "report": ("leap_fairseq.cli.report", "a table and a picture of trainings, from what each records"),
    "plot": ("leap_fairseq.cli.plot", "pictures: quality over latency, a sentence over time, what it reads"),
    "translate": ("leap_fairseq.cli.translate", "translate a file or a pipe while it is being read"),
    "serve": ("leap_fairseq.cli.serve", "a live page that takes the microphone"),
    "client": ("leap_fairseq.cli.client", "stream recordings to such a page's server, and log what comes back"),
}


def main(given: Optional[List[str]] = None, prog: str = "leap-fairseq", commands: Commands = COMMANDS) -> int:
    """Runs the command line.

    Args:
        given: its words (default: those of the process).
        prog: what precedes them.
        commands: that may be called.

    Returns:
        The exit code.

    Raises:
        SystemExit: the words are wrong, or ask for help or the version.
    """
    given = sys.argv[1:] if given is None else given
    parser = argparse.ArgumentParser(prog=prog, epilog=f"{prog} COMMAND --help tells the options of one.")
    if commands is COMMANDS:
        parser.add_argument("--version", action="version", version=installed_version("leap-fairseq"))
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, (_, text) in commands.items():
        subparsers.add_parser(name, help=text, add_help=False)
    name = parser.parse_args(given[:1]).command
    module = importlib.import_module(commands[name][0])
    if hasattr(module, "COMMANDS"):
        return main(given[1:], f"{prog} {name}", module.COMMANDS)
    return command.main(module, given[1:], f"{prog} {name}")
