"""Where the code is, and how a process that has made the slow imports runs a command line in a fork of itself.

A command line spends seconds on importing torch and fairseq, and one on hydra's grammar and schemas. `preload` does
that once, but for the package itself, and computes nothing. The server is in `forked_commands`.
"""

import atexit
import contextlib
import copy
import functools
import gc
import importlib
import inspect
import logging
import os
import runpy
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "leap_fairseq"

PRELOADED = (
    "fairseq-train",
    "fairseq-validate",
    "fairseq-eval-lm",
    "fairseq-generate",
    "fairseq-interactive",
    "simuleval",
)
MODULES = (
    "fairseq.data.data_utils_fast",
    "fairseq.data.token_block_utils_fast",
    "kaldi_native_fbank",
    "matplotlib.pyplot",
    # The first optimizer of a process would import it.
    "torch._dynamo",
)
"""What commands import once they run."""


def preload(*modules):
    """Imports some modules; without any, what is slow in the commands of fairseq and SimulEval."""
    if not modules:
        import_for_commands()
    for name in modules:
        importlib.import_module(name)
    # Or each fork would go through all of it again, and copy the pages.
    gc.freeze()


def import_for_commands():
    scripts = {script.name: script for script in entry_points(group="console_scripts")}
    for name in PRELOADED:
        scripts[name].load()
    for name in MODULES:
        # The command that needs one which is missing says so.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    quicken_hydra()
    compose_a_configuration()
    forget_logging()


def quicken_hydra():
    """Saves what hydra does anew for each configuration, with the same end: half of a short command.

    It parses hundreds of overrides, nearly all of them defaults; copies all schemas, of which it copies again what it
    uses; and reads the source around each frame of the stack, of which it takes the name of a module.
    """
    from hydra._internal import utils
    from hydra.core.config_store import ConfigStore
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parse, known = OverridesParser.parse_rule, {}

    def parse_once(parser, text, rule):
        if (text, rule) not in known:
            known[text, rule] = parse(parser, text, rule)
        return copy.deepcopy(known[text, rule])

    OverridesParser.parse_rule = parse_once
    ConfigStore.__deepcopy__ = lambda store, memo: store
    utils.inspect = SimpleNamespace(**{**vars(inspect), "stack": functools.partial(inspect.stack, 0)})


def forget_logging():
    """Leaves logging to the commands: others configure it once they are imported, ours keep fairseq from it."""
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    for name in [name for name in sys.modules if name.startswith("fairseq_cli") or name == "simuleval.cli"]:
        del sys.modules[name]


def compose_a_configuration():
    """Has hydra build what it keeps for all configurations of a process."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    flags = ["unused", "--arch", "transformer_lm", "--task", "language_modeling"]
    convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), flags))


def run_file(path):
    """Runs a Python file, as `python path` does."""
    sys.path.insert(0, os.path.dirname(path))
    runpy.run_path(path, run_name="__main__")


def exit_code(call):
    """Calls a function as the whole of a process; returns the exit code."""
    try:
        sys.exit(call())
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        # Workers of a loader would see after 5 s that it has ended, and hold its output open until then.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
