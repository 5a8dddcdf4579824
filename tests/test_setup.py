"""scripts/setup.sh: which environment it takes for a whole one; nothing is installed."""

import re
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[1] / "scripts/setup.sh"


@pytest.fixture
def usable(tmp_path):
    """A function: whether the environment of a clone is usable; its Python says yes to everything."""
    functions = re.findall(r"^(?:suitable|usable)\(\) \{.*?\}$", SETUP.read_text(encoding="utf-8"), re.M | re.S)
    assert len(functions) == 2
    program = "\n".join(["set -euo pipefail", "VENV=.venv PYTHON=.venv/bin/python", *functions, "usable"])

    def ask(clone):
        return subprocess.run(["bash", "-c", program], cwd=clone).returncode == 0

    return ask


def test_an_environment_that_was_moved_is_made_anew(usable, tmp_path):
    """Its commands begin with the path of a Python that is gone, or worse, is that of the clone that was copied."""
    clone = tmp_path / "a clone"
    commands = clone / ".venv/bin"
    commands.mkdir(parents=True)
    (commands / "python").write_text("#!/bin/sh\n", encoding="utf-8")
    (commands / "python").chmod(0o755)
    assert not usable(clone)
    (commands / "activate").write_text(f"VIRTUAL_ENV='{clone / '.venv'}'\nexport VIRTUAL_ENV\n", encoding="utf-8")
    assert usable(clone)
    (tmp_path / "link").symlink_to(clone)
    assert usable(tmp_path / "link")
    moved = clone.rename(tmp_path / "moved")
    assert not usable(moved)
