"""The rule of dependencies: who may import what. A package that breaks it stops being usable on its own."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "leap_fairseq"
OURS = "leap_fairseq."

# Third-party modules that a layer must not import, and the layers of ours that it may.
RULES = {
    "attention": ({"fairseq", "fairseq_cli", "simuleval", "numpy"}, {"attention"}),
    "speech": ({"torch", "fairseq", "fairseq_cli", "simuleval"}, {"speech", "files"}),
    "lra": ({"torch", "fairseq", "fairseq_cli", "simuleval"}, {"lra", "files"}),
    "modules": ({"fairseq_cli", "simuleval"}, {"attention", "modules"}),
    "models": ({"fairseq_cli", "simuleval"}, {"attention", "modules", "models"}),
    "tasks": ({"fairseq_cli", "simuleval"}, {"lra", "tasks"}),
    "criterions": ({"fairseq_cli", "simuleval"}, {"criterions"}),
    "simul": ({"fairseq_cli", "simuleval"}, {"attention", "speech", "simul", "files"}),
    "serve": ({"fairseq", "fairseq_cli", "simuleval"}, {"simul", "serve", "translate"}),
    "agents": ({"fairseq", "fairseq_cli"}, {"simul", "agents"}),
    "repairs": ({"fairseq_cli", "simuleval"}, {"repairs", "speech", "files"}),
}
NOWHERE = {"examples", "torchaudio"}


def imports(path):
    """Full names of all modules that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


@pytest.mark.parametrize("layer", sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()))
def test_layer_imports_what_it_may(layer):
    forbidden, allowed = RULES[layer]
    files = list((PACKAGE / layer).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            assert name.split(".")[0] not in forbidden | NOWHERE, f"{path} imports {name}"
            if name.startswith(OURS):
                assert name.split(".")[1] in allowed, f"{path} imports {name}"


def test_attention_needs_torch_alone():
    allowed = {"torch", "leap_fairseq", "math", "typing", "dataclasses", "functools", "ctypes", "logging", "pathlib"}
    allowed |= {"itertools", "fla"}  # the latter inside a function, where it is asked for by name
    for path in (PACKAGE / "attention").rglob("*.py"):
        assert {name.split(".")[0] for name in imports(path)} <= allowed, path


def test_files_need_the_standard_library_alone():
    allowed = {"contextlib", "hashlib", "json", "logging", "os", "pathlib", "shutil", "typing"}
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
