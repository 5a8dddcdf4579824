"""The Dockerfile, read into its instructions; for tests."""

import json
import re
from typing import NamedTuple

from preloading import ROOT

PATH, IGNORE = ROOT / "Dockerfile", ROOT / ".dockerignore"


class Instruction(NamedTuple):
    """An instruction.

    Attributes:
        name: such as COPY.
        flags: by name, without the dashes.
        text: what follows them, of one line.
    """

    name: str
    flags: dict
    text: str

    @property
    def words(self):
        """What follows the flags; the strings of a JSON list, where it is one."""
        return json.loads(self.text) if self.text.startswith("[") else self.text.split()


def instructions(text):
    """The instructions of a Dockerfile, with the values of ARGs that have one in their place."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found, values = [], {}
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        rest = re.sub(r"\$\{?([A-Z_]+)\}?", lambda match: values.get(match[1], match[0]), rest.strip())
        flags = {}
        while match := re.match(r"--([\w-]+)=(\S+)\s+", rest):
            flags[match[1]], rest = match[2], rest[match.end() :]
        if name == "ARG" and "=" in rest:
            values.update([rest.split("=", 1)])
        found.append(Instruction(name.upper(), flags, rest))
    return found


def only(found, name):
    """The last instruction of a name, of those that may stand once a stage."""
    return [each for each in found if each.name == name][-1]


def health_program(found, port):
    """The program in Python of the HEALTHCHECK, which asks at a port of this machine."""
    check = only(found, "HEALTHCHECK")
    command, words = check.text.split(maxsplit=1)
    python, flag, program = json.loads(words)
    assert (command, python, flag) == ("CMD", "python", "-c")
    return program.replace(f":{only(found, 'EXPOSE').text}/", f":{port}/")
