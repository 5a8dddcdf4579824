"""scripts/setup.sh: which environment it takes for a whole one; nothing is installed."""

import os
import re
import shutil
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


PYTHON = """#!/bin/sh
case "$*" in
    "-m venv .venv")
        mkdir -p .venv/bin
        cp "$0" .venv/bin/python
        printf 'VIRTUAL_ENV="%s/.venv"\\n' "$PWD" >.venv/bin/activate
        echo venv >>made ;;
    "-m pip --version") test -f .venv/pip ;;
    "-m pip install "*) touch .venv/pip; echo packages >>made ;;
    "- "*) echo fingerprint ;;
esac
"""


def test_two_at_once_make_one_environment(tmp_path):
    """As jobs of a cluster that begin together, of which one would remove what the other is making."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SETUP, tmp_path / "scripts")
    (tmp_path / "python").write_text(PYTHON, encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    command = ["bash", tmp_path / "scripts/setup.sh"]
    options = {"env": {**os.environ, "LEAP_PYTHON": str(tmp_path / "python")}, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **options) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert (tmp_path / "made").read_text().split() == ["venv", "packages"]
    assert all(text.endswith("[setup] .venv is ready\n") for text in said)
