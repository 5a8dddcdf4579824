"""The fenced blocks of a page of the documents, and a folder in which they run as in a clone.

A block of bash or Python is run, unless `<!-- not run: reason -->` stands right before it; one of text is shown only.
"""

import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple, Optional

from preloading import ROOT

SCRIPTS = Path(sys.executable).parent
LANGUAGES = ("bash", "python", "text")
BLOCK = re.compile(r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
FENCE = re.compile(r"^\s*(?:```|~~~)", re.M)
SERVER, CLIENT = "leap-fairseq serve ", "leap-fairseq client "
LINKED = ("leap_fairseq", "scripts", "data_prep")


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        language: one of LANGUAGES.
        text: between the fences.
        reason: why it is not run; None if it is.
    """

    language: str
    text: str
    reason: Optional[str] = None


def blocks_of(page):
    """The blocks of a page's text, in order.

    Raises:
        ValueError: a fence that is never closed, is indented, or does not say its language.
    """
    found = [Block(match["language"], match["text"], match["reason"]) for match in BLOCK.finditer(page)]
    if len(FENCE.findall(page)) != 2 * len(found):
        raise ValueError("a fence is open, indented, or not of three backticks")
    for block in found:
        if block.language not in LANGUAGES:
            raise ValueError(f"a block is of the language {block.language!r}, not of {LANGUAGES}:\n{block.text}")
    return found


def quickened(text, shorter):
    """The text with substitutions.

    Args:
        text: of a block.
        shorter: (regular expression, replacement) pairs.

    Returns:
        The text, and the set of the expressions that occur in it.
    """
    used = set()
    for pattern, replacement in shorter:
        text, count = re.subn(pattern, replacement, text)
        used |= {pattern} if count else set()
    return text, used


class Clone:
    """A folder with the code and the environment of this clone, to git as it is to a newcomer; to be closed.

    Args:
        folder: empty.
        environment: of the commands; PATH is extended.
        commands: folder of programs that take the place of those of the environment, but for a server.

    Attributes:
        output: what the blocks have printed, and before it each of their commands.
    """

    def __init__(self, folder, environment, commands=None):
        self.folder, self.done, self.server, self.output = folder, set(), None, ""
        self.environment = {**environment, "PATH": os.pathsep.join((str(folder / ".venv/bin"), environment["PATH"]))}
        for name in LINKED:
            (folder / name).symlink_to(ROOT / name)
        self._link_environment(commands)
        (folder / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
        for command in ("init -q", "add -A"):
            subprocess.run(["git", *command.split()], cwd=folder, check=True)

    def _link_environment(self, commands):
        venv = self.folder / ".venv"
        if commands is None:
            venv.symlink_to(SCRIPTS.parent)
            return
        (venv / "bin").mkdir(parents=True)
        replaced = {path.name: path for path in [*SCRIPTS.iterdir(), *commands.iterdir()]}
        activate = replaced.pop("activate").read_text(encoding="utf-8")
        text = re.sub("^VIRTUAL_ENV=.*", f'VIRTUAL_ENV="{venv}"', activate, flags=re.M)
        (venv / "bin/activate").write_text(text, encoding="utf-8")
        for name, path in replaced.items():
            (venv / "bin" / name).symlink_to(path)

    def run(self, block):
        """Runs a block, unless an equal one was run here; a server is asked for its status, and serves those to come.

        Raises:
            AssertionError: it fails; with the end of its output.
        """
        if block.text in self.done:
            return
        if block.text.startswith(SERVER):
            self._serve(block.text)
        else:
            command = ["bash", "-euxo", "pipefail", "-c"] if block.language == "bash" else ["python", "-c"]
            text = block.text.replace(CLIENT, f"{CLIENT}--url {self.server[1]} ") if self.server else block.text
            finished = subprocess.run([*command, text], **self._pipes())
            last = finished.stdout[-4000:]
            assert finished.returncode == 0, f"{block.text}\nended with {finished.returncode}:\n{last}"
            self.output += finished.stdout
        self.done.add(block.text)

    def _serve(self, text):
        self.close()
        process = subprocess.Popen(["bash", "-c", f"exec {SCRIPTS}/{text}"], **self._pipes())
        lines = iter(process.stdout.readline, "")
        self.server = process, next((line.split()[0] for line in lines if line.startswith("http://")), None)
        assert self.server[1], f"{text}\nended without an address"
        with urllib.request.urlopen(f"{self.server[1]}status", timeout=30) as answer:
            assert answer.status == 200

    def close(self):
        """Ends the server as by Ctrl-C, if there is one.

        Raises:
            AssertionError: it ends with an error, or had ended before.
        """
        if self.server:
            (process, address), self.server = self.server, None
            process.send_signal(2)
            try:
                process.communicate(timeout=60)
            finally:
                process.kill()
            assert not address or process.returncode == 0

    def _pipes(self):
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return {"cwd": self.folder, "env": self.environment, **streams}

    def new_to_git(self):
        """Paths that `git status` would show."""
        command = ["git", "ls-files", "--others", "--exclude-standard"]
        shown = subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.PIPE, text=True)
        return shown.stdout.splitlines()
