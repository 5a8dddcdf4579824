"""Runs command lines in forks of one process that has made their slow imports; the package itself is not among them.

A command line spends seconds on importing torch and fairseq. Here each is a process of its own all the same: forked
before anything was computed, with its own arguments, directory and user code, and ended by Python as usual.

Run as a script it is the server: for each line of JSON on stdin (command, args, cwd, stdin, output, imports) it writes
the exit code. `CommandServer` is the client.
"""

import importlib
import json
import os
import runpy
import subprocess
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path

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


class CommandServer:
    """Starts the server; `run` sends it a command line.

    Args:
        environment: of the commands.
        folder: takes the outputs.
    """

    def __init__(self, environment, folder):
        self.folder, self.count = Path(folder), 0
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment,
            text=True,
        )

    def run(self, command, args, cwd, stdin="", imports=()):
        """Runs a command line.

        Args:
            command: name of a console script, or path of a Python file.
            args: of the command.
            cwd: its directory.
            stdin: its input.
            imports: modules that it finds imported.

        Returns:
            Its exit code, and its stdout and stderr together.
        """
        self.count += 1
        output = self.folder / f"{self.count}.output"
        given = self.folder / f"{self.count}.input"
        given.write_text(stdin, encoding="utf-8")
        request = [str(command), [str(a) for a in args], str(cwd), str(given), str(output), list(imports)]
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        return int(answer), output.read_text(encoding="utf-8", errors="replace")

    def close(self):
        """Ends the server."""
        self._process.stdin.close()
        self._process.wait()


def serve():
    answers = os.fdopen(os.dup(1), "w")
    # What the imports print is not an answer.
    os.dup2(2, 1)
    sys.path.remove(str(Path(__file__).resolve().parent))
    scripts = preload()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            answers.close()
            os._exit(run_command(scripts, *json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


def preload():
    """Makes the slow imports; returns the console scripts by name."""
    scripts = {script.name: script for script in entry_points(group="console_scripts")}
    for name in PRELOADED:
        scripts[name].load()
    # The first optimizer of a process would import it.
    importlib.import_module("torch._dynamo")
    return scripts


def run_file(path):
    """Runs a Python file, as `python path` does."""
    sys.path.insert(0, os.path.dirname(path))
    runpy.run_path(path, run_name="__main__")


def run_command(scripts, command, args, cwd, stdin, output, imports):
    """What the command does in a process of its own; returns the exit code."""
    for path, flags, descriptor in ((stdin, os.O_RDONLY, 0), (output, os.O_WRONLY | os.O_CREAT, 1)):
        os.dup2(os.open(path, flags, 0o644), descriptor)
    os.dup2(1, 2)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    os.chdir(cwd)
    sys.argv = [command, *args]

    def call():
        for name in imports:
            importlib.import_module(name)
        return scripts[command].load()() if command in scripts else run_file(command)

    return exit_code(call)


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
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    serve()
