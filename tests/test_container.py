"""The Dockerfile, held against the tree: what it copies, installs and calls is there. No container is built."""

import asyncio
import fnmatch
import re
import urllib.error
from pathlib import Path

import dockerfile
import pytest
from dockerfile import instructions, only
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from preloading import ROOT

from leap_fairseq.cli import command, serve
from leap_fairseq.serve.hosts import AllowedHosts

TEXT, IGNORED = dockerfile.PATH.read_text(encoding="utf-8"), dockerfile.IGNORE.read_text(encoding="utf-8")


def described(monkeypatch):
    """What setup.py tells setuptools."""
    setuptools, found = pytest.importorskip("setuptools", reason="needs setuptools, as a build does"), {}
    with monkeypatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **fields: found.update(fields))
        patch.chdir(ROOT)
        exec(Path("setup.py").read_text(encoding="utf-8"), {"__file__": "setup.py"})
    return found


def is_sent(path, ignored):
    """Whether a file of the tree is sent to the builder, by the last rule that matches it or a folder of it."""
    sent, folders = True, [path, *path.parents]
    for rule in ignored.splitlines():
        pattern = rule.removeprefix("!")
        anywhere = pattern.startswith("**/")
        # An asterisk alone ends at a slash.
        names = [folder.name if anywhere else folder.as_posix() for folder in folders if folder.name]
        names = [name for name in names if name.count("/") == pattern.removeprefix("**/").count("/")]
        if rule and not rule.startswith("#") and fnmatch.filter(names, pattern.removeprefix("**/")):
            sent = rule.startswith("!")
    return sent


def problems(text, ignored, package):
    """What is wrong with a Dockerfile, each in a line."""
    found, wrong = instructions(text), []
    bases = [each.words for each in found if each.name == "FROM"]
    stages = [words[2] for words in bases if len(words) == 3]
    if len(bases) != 2 or len({words[0] for words in bases}) != 1:
        wrong.append("two stages of one image, so that what is installed in the first fits the second")
    version = re.match(r"python:([\d.]+)-slim", bases[0][0])[1]
    fairseq = next(Requirement(each) for each in package["install_requires"] if "fairseq" in each)
    if version not in SpecifierSet(package["python_requires"]) or not fairseq.marker.evaluate(
        {"python_version": version}
    ):
        wrong.append(f"python {version} is not one that fairseq can be installed on")
    for each in (each for each in found if each.name == "COPY"):
        *sources, _ = each.words
        if each.flags and each.flags["from"] not in stages:
            wrong.append(f"there is no stage {each.flags['from']}")
        for source in [] if each.flags else sources:
            if not (ROOT / source).exists() or not is_sent(Path(source), ignored):
                wrong.append(f"{source} is not there for COPY")
    commands = " ".join(each.text for each in found if each.name == "RUN")
    for extra in re.findall(r"\.whl\)\[(.*?)\]", commands):
        if extra not in package["extras_require"]:
            wrong.append(f"there is no extra {extra}")
    (torch,) = re.findall(r"torch==[\d.]+", (ROOT / "scripts/setup.sh").read_text(encoding="utf-8").split("TORCH=$")[1])
    if f'"{torch}+cpu"' not in commands:
        wrong.append(f"torch is not that of scripts/setup.sh, {torch}")
    if only(found, "USER").words in (["root"], ["0"]):
        wrong.append("it serves as root")
    return wrong


def test_what_it_copies_and_installs_is_there(monkeypatch):
    assert problems(TEXT, IGNORED, described(monkeypatch)) == []


@pytest.mark.parametrize(
    "old, new, reason",
    [
        ("ARG PYTHON=3.11", "ARG PYTHON=3.13", "python 3.13 is not one"),
        ("ARG PYTHON=3.11", "ARG PYTHON=3.10", "python 3.10 is not one"),
        ("COPY setup.py", "COPY gone.py", "gone.py is not there"),
        ("COPY setup.py", "COPY CHANGELOG.md setup.py", "CHANGELOG.md is not there"),
        ("--from=build", "--from=other", "there is no stage other"),
        ("[serve]", "[server]", "there is no extra server"),
        ("torch==2.13.0+cpu", "torch==2.12.0+cpu", "torch is not that of scripts/setup.sh"),
        ("USER 1000", "USER root", "it serves as root"),
        ("FROM python:${PYTHON}-slim-bookworm\n", "FROM python:${PYTHON}-slim-trixie\n", "two stages of one image"),
    ],
)
def test_the_controls_that_are_seen(monkeypatch, old, new, reason):
    assert TEXT.count(old)
    (wrong,) = problems(TEXT.replace(old, new), IGNORED, described(monkeypatch))
    assert reason in wrong


def test_what_is_sent_to_the_builder():
    sent = ("setup.py", "leap_fairseq/cli/serve.py", "leap_fairseq/example/model/checkpoint.pt", "README.md")
    kept = ("tests/dockerfile.py", ".git/config", "runs/x.pt", "leap_fairseq/__pycache__/x.pyc", "CHANGELOG.md")
    kept += ("leap_fairseq/attention/_native.cpython-311-x86_64-linux-gnu.so", "leap_fairseq.egg-info/PKG-INFO")
    assert [path for path in (*sent, *kept) if is_sent(Path(path), IGNORED)] == list(sent)


def test_its_command_is_one_of_ours():
    found = instructions(TEXT)
    program, name, *words = only(found, "ENTRYPOINT").words
    assert (program, name) == ("leap-fairseq", "serve")
    options = command.command_parser(serve).parse_args(words)
    assert options.host == "0.0.0.0" and options.model is None
    assert str(options.port) == only(found, "EXPOSE").text and f":{options.port}/" in only(found, "HEALTHCHECK").text
    hosts = AllowedHosts(options.host, options.allow_host)
    assert all(map(hosts.allow, ("localhost:8642", "172.17.0.2", "leap-fairseq:8642"))) and not hosts.allow(
        "evil.example"
    )
    assert command.command_parser(serve).parse_args([*words, "--model", "/model"]).model == "/model"


def test_its_health_is_that_of_the_server():
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")
    from live_client import served

    from leap_fairseq.example import MODEL
    from leap_fairseq.models import load_translator

    found = instructions(TEXT)

    async def scenario(client):
        port = client.address.rpartition(":")[2]
        await asyncio.to_thread(exec, dockerfile.health_program(found, port), {})
        return port

    port = served(load_translator(MODEL), scenario)
    with pytest.raises(urllib.error.URLError):
        exec(dockerfile.health_program(found, port), {})
