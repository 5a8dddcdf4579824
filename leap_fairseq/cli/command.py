"""What all commands share: the parser, logging to stderr, and errors that a user can mend as one line.

A command is a module with a docstring, ``add_arguments(parser)`` and ``run(options)``. It imports nothing slow at its
top, so that help comes at once. What it logs from ``LOG_LEVEL`` on (default: INFO) is shown.
"""

import argparse
import logging
import pickle
import signal
import sys
from types import ModuleType
from typing import List, Optional

MENDABLE = (OSError, ValueError, ImportError, EOFError, RuntimeError, OverflowError, pickle.UnpicklingError)
"""Errors whose text tells the user what to do; DataError and AudioError among them. Others are our mistakes."""


def main(module: ModuleType, given: Optional[List[str]] = None, prog: Optional[str] = None) -> int:
    """Runs a command.

    Args:
        module: of the command. Its ``run`` returns an exit code, or None for 0; it may raise
            ``argparse.ArgumentTypeError`` for options that are wrong together.
        given: words of the command line (default: those of the process).
        prog: what precedes them (default: the name of the script).

    Returns:
        The exit code: 1 after an error, of which stderr has one line; those of shells, where Ctrl-C ends it or the
        reader of its output, as ``head`` does.

    Raises:
        SystemExit: the words are wrong, or ask for help.
    """
    parser = command_parser(module, prog)
    options = parser.parse_args(given)
    _refuse_empty(parser, sys.argv[1:] if given is None else given)
    level = getattr(module, "LOG_LEVEL", logging.INFO)
    logging.basicConfig(stream=sys.stderr, level=level, format="%(levelname)s: %(message)s")
    try:
        return module.run(options) or 0
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except MENDABLE as error:
        sys.stderr.write(f"error: {' '.join(str(error).split()) or type(error).__name__}\n")
        return 1


def command_parser(module: ModuleType, prog: Optional[str] = None) -> argparse.ArgumentParser:
    """The parser of a command: described by the first paragraph of its docstring, the others follow the options."""
    description, _, more = module.__doc__.partition("\n\n")
    parser = argparse.ArgumentParser(prog=prog, description=description, epilog=more, formatter_class=_Help)
    module.add_arguments(parser)
    return parser


def _refuse_empty(parser: argparse.ArgumentParser, words: List[str]) -> None:
    """Ends where a word is empty, as "$PART" is in a shell that has no PART: most options would count as left out.

    An option that is empty by default may be.
    """
    for before, word in zip([None, *words], words):
        flag = before if word == "" else word[:-1]
        is_empty = word == "" or (word.startswith("--") and word.endswith("="))
        if not is_empty or (flag and parser.get_default(flag.lstrip("-").replace("-", "_")) == ""):
            continue
        where = "the first argument" if flag is None else f"the argument behind {flag or repr(flag)}"
        parser.error(f"{where} is empty: give a value, or leave the option out")


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default to each option that has one and does not tell it in words."""

    def _get_help_string(self, action: argparse.Action) -> Optional[str]:
        if action.default is None or action.default is False or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)
