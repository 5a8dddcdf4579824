"""The rule of dependencies: who may import what. A package that breaks it stops being usable on its own."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "leap_fairseq"
OURS = "leap_fairseq."

# From the bottom up: the rooms of ours that each may use, and the third-party packages that it must not.
FRAMEWORKS = {"fairseq", "fairseq_cli", "simuleval", "simulstream", "aiohttp", "omegaconf", "hydra"}
RULES = {
    "example": (set(), FRAMEWORKS | {"torch", "numpy"}),
    "speech": ({"files"}, FRAMEWORKS | {"torch"}),
    "attention": (set(), FRAMEWORKS | {"numpy"}),
    "layers": ({"attention"}, FRAMEWORKS | {"numpy"}),
    "hf": ({"layers", "attention"}, FRAMEWORKS | {"numpy"}),
    "scoring": ({"speech", "files"}, FRAMEWORKS | {"torch"}),
    "report": ({"scoring", "speech", "files"}, FRAMEWORKS | {"torch"}),
    "prepare": ({"speech", "scoring", "parts", "files", "waits"}, FRAMEWORKS | {"torch"}),
    "lra": ({"prepare", "files"}, FRAMEWORKS | {"torch"}),
    "streaming": ({"layers", "attention", "speech", "scoring", "report"}, FRAMEWORKS),
    "compat": ({"speech"}, {"fairseq_cli", "simuleval", "aiohttp"}),
    "modules": ({"compat", "layers", "attention"}, {"fairseq_cli", "simuleval", "aiohttp"}),
    "criterions": ({"compat"}, {"fairseq_cli", "simuleval", "aiohttp"}),
    "tasks": ({"compat", "criterions", "lra", "report", "speech", "files"}, {"fairseq_cli", "simuleval", "aiohttp"}),
    "models": (
        {"compat", "tasks", "modules", "streaming", "hf", "layers", "attention", "speech", "files"},
        {"fairseq_cli", "simuleval", "aiohttp"},
    ),
    "serve": ({"streaming"}, FRAMEWORKS - {"aiohttp"}),
    "agents": (
        {"models", "streaming", "scoring", "speech", "files", "waits", "example"},
        {"fairseq", "fairseq_cli", "aiohttp"},
    ),
    "cli": (
        {"agents", "serve", "models", "streaming", "report", "scoring", "speech", "parts", "files", "example"},
        {"fairseq", "fairseq_cli", "simuleval", "simulstream"},
    ),
}
EXCEPTIONS = {
    # The texts of WikiText-103 are binarised by fairseq's own command, which is imported when it is called.
    ("prepare/binarised_text.py", "fairseq"),
    ("prepare/binarised_text.py", "fairseq_cli"),
    ("prepare/binarised_text.py", "compat"),
}
NOWHERE = {"examples", "torchaudio"}


ALL_FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path, names=False):
    """Full names of all modules that a file imports, at its top or inside a function; and of the names from them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names) if names else [node.module]


ROOMS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists())


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_may(room):
    allowed, forbidden = RULES[room]
    files = list((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        place = path.relative_to(PACKAGE).as_posix()
        for name in imports(path):
            top = name.split(".")[0]
            assert top not in forbidden | NOWHERE or (place, top) in EXCEPTIONS, f"{path} imports {name}"
            if name.startswith(OURS):
                other = name.split(".")[1]
                assert other in allowed | {room} or (place, other) in EXCEPTIONS, f"{path} imports {name}"


def test_arrows_go_down():
    """No circle of rooms: each uses only rooms that stand before it."""
    assert sorted(RULES) == ROOMS
    order = list(RULES)
    upwards = {(room, used) for room in order for used in RULES[room][0] & set(order[order.index(room) :])}
    assert not upwards


def test_no_circle_of_modules():
    """Not for annotations either: TYPE_CHECKING hides nothing here."""
    files = {".".join(("leap_fairseq", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in ALL_FILES}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}

    def used(name):
        for imported in imports(files[name], names=True):
            while imported not in files and "." in imported:
                imported = imported.rpartition(".")[0]
            # A module of a package uses the package's __init__ only by importing a name from it.
            if imported in files and not name.startswith(f"{imported}."):
                yield imported

    graph = {name: sorted(set(used(name)) - {name}) for name in files}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_attention_needs_torch_alone():
    allowed = {"torch", "leap_fairseq", "math", "typing", "dataclasses", "functools", "ctypes", "logging", "pathlib"}
    allowed |= {"hashlib", "itertools", "fla"}  # the last inside a function, where it is asked for by name
    allowed |= {"importlib", "os", "triton"}  # the last in the kernels, which are imported where they are launched
    for path in (PACKAGE / "attention").rglob("*.py"):
        assert {name.split(".")[0] for name in imports(path)} <= allowed, path


def test_files_need_the_standard_library_alone():
    allowed = {"contextlib", "fcntl", "functools", "hashlib", "json", "logging", "os", "pathlib", "shutil"}
    allowed |= {"tempfile", "typing"}
    assert {name.split(".")[0] for name in imports(PACKAGE / "files.py")} <= allowed


def test_the_rule_can_fail(tmp_path):
    """The control: a hidden import inside a function is found."""
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from simuleval.agents import GenericAgent\n    import torchaudio as t\n")
    assert list(imports(path)) == ["simuleval.agents", "torchaudio"]


def test_the_library_never_prints():
    for path in PACKAGE.rglob("*.py"):
        calls = (n.func for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call))
        assert not any(isinstance(f, ast.Name) and f.id == "print" for f in calls), path
