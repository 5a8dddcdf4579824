"""The server of the tests' commands: it ends with the tests, and takes what still runs along."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, subprocess, sys
from forked_commands import ForkedCommands

with ForkedCommands(dict(os.environ), "json") as commands:
    command = [commands.folder / "python", "-c", "import os, time; os.write(1, b'begun'); time.sleep(300)"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.read(5) == b"begun"
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), 9)
    process.kill()
"""


@pytest.mark.parametrize("end, code", [("killed", -signal.SIGKILL), ("reached", 0)])
def test_nothing_is_left_of_tests_that_have_ended(end, code):
    command = [sys.executable, "-c", PROGRAM, end]
    # The end of what they could write is that of all.
    ended = subprocess.run(command, cwd=Path(__file__).parent, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (code, "")
