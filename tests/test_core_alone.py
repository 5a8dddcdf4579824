"""The core needs torch alone: importing it loads nothing of fairseq and changes nothing in the process."""

import contextlib
import json
import os
from pathlib import Path

import pytest
from forked_commands import ForkedCommands

PACKAGE = Path(__file__).parents[1] / "leap_fairseq"

ROOMS = ("attention", "layers", "speech", "streaming", "scoring", "report", "prepare", "lra", "example")

FRAMEWORKS = ("fairseq", "fairseq_cli", "simuleval", "simulstream", "aiohttp", "omegaconf", "hydra")

KERNELS = ("triton_kernels", "triton_parts", "triton_states")
"""They are imported where they are launched, and need Triton, which torch for the CPU does not bring."""

EXTRAS = ("aiohttp", "comet", "matplotlib", "mweralign", "omnisteval", "simulstream", "transformers", "triton", "wandb")
"""What extras bring."""


def blocked(names):
    """A program in which packages are not there."""
    return f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
"""


BLOCK = blocked(FRAMEWORKS)


def modules_of(room):
    files = sorted(path for path in (PACKAGE / room).rglob("*.py") if path.stem not in KERNELS)
    names = [".".join(("leap_fairseq", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in files]
    return [name.removesuffix(".__init__") for name in names]


@contextlib.contextmanager
def programs(folder, *imports):
    """A function: runs a program in a process of its own that has made some imports; returns its last line, as JSON."""
    with ForkedCommands(dict(os.environ), *imports) as forked:

        def run(program):
            code, output = forked.run("python", "-c", program, cwd=folder)
            assert code == 0, output
            return json.loads(output.splitlines()[-1])

        yield run


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A function: runs a program where torch alone was imported."""
    with programs(tmp_path_factory.mktemp("apart"), "torch") as run:
        yield run


@pytest.fixture(scope="module")
def python_for_fairseq(tmp_path_factory):
    """A function: runs a program where the libraries were imported that take fairseq longest."""
    with programs(tmp_path_factory.mktemp("apart"), "torch", "hydra", "sklearn.metrics") as run:
        yield run


def test_every_module_of_the_core_works_without_frameworks(python):
    names = [name for room in ROOMS for name in modules_of(room)]
    assert len(names) > 60
    assert python(BLOCK + "".join(f"import {name}\n" for name in names) + "print(1)") == 1


def test_the_control_that_frameworks_are_blocked(python):
    with pytest.raises(AssertionError, match="fairseq is blocked"):
        python(BLOCK + "import leap_fairseq.models")


STATE = """
import json, logging, sys
def state():
    import torch
    found = [type(finder).__name__ for finder in sys.meta_path]
    return [found, logging.root.level, len(logging.root.handlers), len(torch.serialization.get_safe_globals())]
"""


@pytest.fixture(scope="module")
def torch_alone(python):
    """The state of a process that has imported torch."""
    return python(STATE + "print(json.dumps(state()))")


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_is_loaded_and_nothing_is_changed(python, room, torch_alone):
    """With everything installed: frameworks are not imported, and the process is what torch alone makes of it."""
    imports = "".join(f"import {name}\n" for name in modules_of(room))
    program = f"{STATE}{imports}print(json.dumps([state(), sorted(set({FRAMEWORKS!r}) & set(sys.modules))]))"
    assert python(program) == [torch_alone, []]


def test_a_loaded_fairseq_is_not_patched(python_for_fairseq):
    program = """
import fairseq, json, numpy
from fairseq import checkpoint_utils, options
from fairseq.data import data_utils
from fairseq.models import MODEL_REGISTRY
from fairseq.trainer import Trainer
def watched():
    functions = [checkpoint_utils.load_checkpoint_to_cpu, data_utils.batch_by_size, options.parse_args_and_arch,
                 Trainer.load_checkpoint]
    return [*map(id, functions), hasattr(numpy, "compat"), [name for name in MODEL_REGISTRY if "leap" in name]]
before = watched()
import leap_fairseq.attention, leap_fairseq.layers, leap_fairseq.speech.features, leap_fairseq.streaming.translator
core = watched() == before
import leap_fairseq.models
print(json.dumps([core, watched() == before]))
"""
    assert python_for_fairseq(program) == [True, False]


USER_DIR = """
import argparse, json, sys
from fairseq import utils
utils.import_user_module(argparse.Namespace(user_dir={folder!r}))
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
print(json.dumps(["leap_transformer_lm_wiki103" in ARCH_MODEL_REGISTRY, "leap_convtransformer" in ARCH_MODEL_REGISTRY,
                  "leap_language_modeling" in TASK_REGISTRY, "leap_speech_to_text" in TASK_REGISTRY,
                  "long_range_arena" in TASK_REGISTRY, "sequence_classification" in CRITERION_REGISTRY]))
"""


@pytest.mark.parametrize(
    "order",
    [
        ("fairseq",),
        ("fairseq", "leap_fairseq.attention"),
        ("fairseq", "leap_fairseq.criterions"),
        ("leap_fairseq.attention, leap_fairseq.layers, leap_fairseq.streaming.translator", "fairseq"),
        ("leap_fairseq.models", "fairseq"),
        ("leap_fairseq.agents", "fairseq"),
    ],
)
def test_a_user_dir_registers_in_every_order(python_for_fairseq, order):
    imports = "".join(f"import {names}\n" for names in order)
    assert python_for_fairseq(imports + USER_DIR.format(folder=f"{PACKAGE}/")) == [True] * 6


def test_the_control_that_nothing_registers_without_a_user_dir(python_for_fairseq):
    program = "import leap_fairseq.attention\n" + USER_DIR.format(folder=str(PACKAGE))
    assert python_for_fairseq(program.replace("utils.import_user_module(", "(")) == [False] * 6


def test_what_fairseq_imports_of_a_user_dir_needs_no_extra(python_for_fairseq):
    program = USER_DIR.format(folder=str(PACKAGE))
    assert python_for_fairseq(blocked(EXTRAS) + program) == [True] * 6
    imported = f"print(json.dumps(sorted(set({EXTRAS!r}) & set(sys.modules) - {{'wandb'}})))"
    # fairseq itself imports wandb wherever it is.
    assert python_for_fairseq(program + imported) == []


def test_the_control_that_an_extra_is_blocked_and_seen(python_for_fairseq):
    with pytest.raises(AssertionError, match="transformers is blocked"):
        python_for_fairseq(blocked(EXTRAS) + "import transformers")
    program = f"import aiohttp, json, sys\nprint(json.dumps(sorted(set({EXTRAS!r}) & set(sys.modules))))"
    assert python_for_fairseq(program) == ["aiohttp"]
