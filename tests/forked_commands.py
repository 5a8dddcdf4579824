"""Commands on the PATH that fork a process with the slow imports made, so that bash runs them as a user writes them.

A folder of small programs, named as the console scripts and `python`, hand their arguments, directory, environment and
open files to a server, and end as the fork does: a process of its own, with nothing of another command's. What it
starts by `sys.executable` is forked as well. Run as a script, with the path of a socket, this is the server.
"""

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from preloading import exit_code, preload, run_file

SCRIPTS = Path(sys.executable).parent

AS_LARGE = "FORKED_COMMANDS_AS_LARGE"
"""Where it is set, a program takes at its end the memory that the fork took at its peak, for those who measure it."""

CLIENT = """#!{python} -SE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [b"+"], [0, 1, 2])
server.sendall(json.dumps([{name!r}, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
server.shutdown(socket.SHUT_WR)
code, peak = map(int, (server.recv(99) or b"1 0").split())
if {as_large!r} in os.environ:
    import mmap
    mmap.mmap(-1, max(peak, 1) << 10, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
sys.exit(code)
"""


class ForkedCommands:
    """A server, as a context.

    Args:
        environment: in which the imports are made, and commands are run.
        imports: modules; those of `preload` if none is given.
        python: that of another environment, of whose scripts `leap-fairseq` alone is needed.

    Attributes:
        folder: of the programs, for the PATH.
    """

    def __init__(self, environment, *imports, python=sys.executable):
        self._environment = environment
        # Not pytest's: the path of a socket has at most 107 bytes.
        self._temporary = tempfile.TemporaryDirectory()
        address = f"{self._temporary.name}/socket"
        self.folder = Path(self._temporary.name, "bin")
        self.folder.mkdir()
        names = ("python", "leap-fairseq", "simuleval", "torchrun", *(path.name for path in SCRIPTS.glob("fairseq-*")))
        for name in names:
            program = CLIENT.format(python=sys.executable, address=address, name=name, as_large=AS_LARGE)
            (self.folder / name).write_text(program, encoding="utf-8")
            (self.folder / name).chmod(0o755)
        command = [python, __file__, address, *imports]
        # A group of its own, and a pipe that is closed however this process ends.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True
        )
        assert "ready\n" in iter(self._process.stdout.readline, "")

    def run(self, command, *args, cwd, stdin=""):
        """Runs a command line.

        Args:
            command: name of a console script, or path of a Python file.
            args: of the command.
            cwd: its directory.
            stdin: its input.

        Returns:
            Its exit code, and its stdout and stderr together.
        """
        words = [command] if (self.folder / command).parent == self.folder else ["python", command]
        finished = subprocess.run(
            [self.folder / words[0], *map(str, [*words[1:], *args])],
            cwd=cwd,
            env=self._environment,
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return finished.returncode, finished.stdout.decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._temporary.cleanup()


def serve(address, *imports):
    sys.path.remove(str(Path(__file__).resolve().parent))
    preload(*imports)
    sys.executable = str(Path(address).parent / "bin/python")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        # What has answered is not waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        print("ready", flush=True)
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            client = server.accept()[0]
            if os.fork() == 0:
                server.close()
                answer(client)
                os._exit(0)
            client.close()
    # Whoever has started it has ended: so does all that runs.
    os.killpg(0, signal.SIGKILL)


def answer(client):
    """Runs what a program asks for in a fork, and tells it the exit code, and the peak of memory in KiB."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    files = socket.recv_fds(client, 1, 3)[1]
    name, args, directory, environment = json.loads(b"".join(iter(lambda: client.recv(1 << 16), b"")))
    child = os.fork()
    if child == 0:
        client.close()
        for descriptor, file in enumerate(files):
            os.dup2(file, descriptor)
            os.close(file)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        os.chdir(directory)
        os.environ.clear()
        os.environ.update(environment)
        os._exit(exit_code(lambda: run_python(args if name == "python" else [str(SCRIPTS / name), *args])))
    for file in files:
        os.close(file)
    _, status, usage = os.wait4(child, 0)
    client.sendall(f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}".encode())


def run_python(args):
    """Runs `python -c`, `python -m` or `python FILE`; for anything else Python itself."""
    if args[:1] == ["-c"]:
        sys.argv = ["-c", *args[2:]]
        sys.path.insert(0, "")
        exec(compile(args[1], "<string>", "exec"), {"__name__": "__main__"})
    elif args[:1] == ["-m"]:
        sys.argv = args[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    elif args and not args[0].startswith("-"):
        sys.argv = args
        run_file(args[0])
    else:
        program = str(SCRIPTS / "python")
        os.execv(program, [program, *args])


if __name__ == "__main__":
    serve(*sys.argv[1:])
