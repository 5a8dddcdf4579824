"""The runner of all commands: its help, its exit codes, and each error that a user can mend in one line."""

import argparse
import importlib
import pickle
import runpy
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from leap_fairseq import prepare
from leap_fairseq.cli import COMMANDS, command, main

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "simulst"


def a_command(run, add_arguments=lambda parser: None):
    doc = "Does it.\n\n    leap-fairseq do N\n\nAt once."
    return SimpleNamespace(__doc__=doc, __name__="do", add_arguments=add_arguments, run=run)


def leave(given, capsys, commands=main):
    """Exit code and output of a command line that ends in the parser."""
    with pytest.raises(SystemExit) as end:
        commands(given)
    return end.value.code, capsys.readouterr()


def test_help_lists_all_commands(capsys):
    for given, commands in (["--help"], COMMANDS), (["prepare", "--help"], prepare.COMMANDS):
        code, printed = leave(given, capsys)
        assert code == 0 and f"{' '.join(['leap-fairseq', *given[:-1]])} COMMAND --help" in printed.out
        for name, (_, text) in commands.items():
            assert f"  {name} " in printed.out.replace("\n", " \n") and text.split()[0] in printed.out


def test_it_tells_its_version(capsys):
    code, printed = leave(["--version"], capsys)
    assert code == 0 and printed.out == f"leap-fairseq-{version('leap-fairseq')}\n"


@pytest.mark.parametrize("given", [["unheard"], [], ["prepare"], ["prepare", "unheard"], ["score"]])
def test_wrong_words_end_with_2(capsys, given):
    code, printed = leave(given, capsys)
    assert code == 2 and printed.err.startswith("usage: leap-fairseq") and "error: " in printed.err
    assert "unheard" not in given or "choose from" in printed.err


@pytest.mark.parametrize("group, commands", [("", COMMANDS), ("prepare ", prepare.COMMANDS)])
def test_every_command_follows_the_protocol(group, commands):
    for name, (path, text) in commands.items():
        module = importlib.import_module(path)
        assert text and hasattr(module, "COMMANDS") or callable(module.run)
        if not hasattr(module, "COMMANDS"):
            parser = command.command_parser(module, f"leap-fairseq {group}{name}")
            paragraph = module.__doc__.split("\n\n")[0]
            assert parser.description == paragraph and paragraph in parser.format_help()


def test_options_reach_the_command_and_defaults_are_told(capsys):
    def add_arguments(parser):
        parser.add_argument("n", type=int)
        parser.add_argument("--size", type=float, default=0.0, help="of it")
        parser.add_argument("--kind", default="a", help="a (default) or b")
        parser.add_argument("--fast", action="store_true", help="do it fast")
        parser.add_argument("--name", help="of it")

    given = []
    module = a_command(given.append, add_arguments)
    assert command.main(module, ["3", "--fast"]) == 0
    assert vars(given[0]) == {"n": 3, "size": 0.0, "kind": "a", "fast": True, "name": None}
    code, printed = leave(["--help"], capsys, lambda words: command.main(module, words, "do"))
    assert code == 0 and "of it (default: 0.0)" in printed.out and printed.out.count("default") == 2
    assert printed.out.startswith("usage: do ") and printed.out.endswith("    leap-fairseq do N\n\nAt once.\n")


def takes_texts(parser):
    parser.add_argument("files", metavar="FILE", nargs="*")
    parser.add_argument("--part", help="of it")
    parser.add_argument("--names", nargs="+", help="of them")
    parser.add_argument("--more-options", default="", help="for another command")


@pytest.mark.parametrize(
    "given, where",
    [
        (["--part", ""], "the argument behind --part"),
        (["--part="], "the argument behind --part"),
        (["--names", "a", ""], "the argument behind a"),
        (["", "--part", "1"], "the first argument"),
        (["--more-options", "", "", "x"], "the argument behind ''"),
    ],
)
def test_an_empty_argument_is_not_taken_for_none(capsys, given, where):
    """Such as "$PART" where the shell has no PART."""
    did = []
    module = a_command(did.append, takes_texts)
    code, printed = leave(given, capsys, lambda words: command.main(module, words, "do"))
    assert code == 2 and not did
    assert printed.err.endswith(f"do: error: {where} is empty: give a value, or leave the option out\n")


@pytest.mark.parametrize("given", [["--more-options", ""], ["--more-options="], ["--part", "a="], []])
def test_an_option_that_is_empty_by_itself_may_be(given):
    did = []
    assert command.main(a_command(did.append, takes_texts), given) == 0 and did[0].more_options == ""


def test_the_exit_code_is_that_of_the_command():
    assert command.main(a_command(lambda options: 7), []) == 7


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("no such file: x"),
        ValueError("two\n   lines"),
        ImportError("needs matplotlib: pip install it"),
        RuntimeError("not enough memory"),
        pickle.UnpicklingError("no checkpoint"),
        EOFError(),
    ],
)
def test_an_error_is_one_line(capsys, error):
    def run(options):
        raise error

    assert command.main(a_command(run), []) == 1
    text = {"two\n   lines": "two lines", "": "EOFError"}.get(str(error), str(error))
    assert capsys.readouterr().err == f"error: {text}\n"


@pytest.mark.parametrize("end, code", [(KeyboardInterrupt, 130), (BrokenPipeError, 141)])
def test_an_end_that_was_asked_for_is_no_error(capsys, end, code):
    """Ctrl-C, and a reader of the output that has seen enough: the codes by which a shell knows them."""

    def run(options):
        raise end

    assert command.main(a_command(run), []) == code
    assert capsys.readouterr().err == ""


def test_a_mistake_of_ours_is_not_hidden():
    """The control."""
    with pytest.raises(ZeroDivisionError):
        command.main(a_command(lambda options: 1 / 0), [])


def test_options_that_are_wrong_together(capsys):
    def run(options):
        raise argparse.ArgumentTypeError("--best stands alone")

    code, printed = leave([], capsys, lambda words: command.main(a_command(run), words, "do"))
    assert code == 2 and printed.err.endswith("do: error: --best stands alone\n")


@pytest.mark.parametrize("name", ["average", "evaluate", "export", "plot", "score"])
def test_scripts_by_their_path_are_the_commands(capsys, monkeypatch, name):
    code, printed = leave([name, "--help"], capsys)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    script = leave(None, capsys, lambda _: runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__"))
    # The usage is broken into lines by its length.
    theirs, ours = (" ".join(each.out.split()) for each in (script[1], printed))
    assert code == script[0] == 0 and theirs == ours.replace(f"leap-fairseq {name}", f"{name}.py", 1)


def test_a_process_of_its_own(start, tmp_path):
    """By name, as a module, and by the path of a script, wherever it is started."""
    (tmp_path / "leap_fairseq").mkdir()  # as where somebody has put a clone
    message = "error: gone: no such file; give the --output folder of a simuleval run, or a log\n"
    for words in (
        (Path(sys.executable).with_name("leap-fairseq"), "score"),
        ("-P", "-m", "leap_fairseq", "score"),
        (SCRIPTS / "score.py",),
    ):
        ended = start(*words, "gone", code=1)
        assert ended.stderr == message and ended.stdout == ""
