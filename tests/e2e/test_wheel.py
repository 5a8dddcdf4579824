"""The wheel of the source distribution in an environment of its own: from a corpus to a score by the command line."""

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import dockerfile
import pytest
from dockerfile import instructions, only
from forked_commands import ForkedCommands
from preloading import PLUGIN, ROOT

TRAINING = (
    "--task leap_speech_to_text --arch leap_convtransformer_simul_trans_tiny --waitk-lagging 1-3 "
    "--config-yaml config_st.yaml --train-subset train_st --valid-subset dev_st --encoder-layers 1 --decoder-layers 1 "
    "--max-tokens 6000 --criterion label_smoothed_cross_entropy --optimizer adam --lr 0.002 --cpu --seed 1 "
    "--log-format simple --num-workers 0 --max-update 2 --no-epoch-checkpoints"
)


@pytest.fixture(scope="module")
def call(environment, elsewhere):
    """A function: runs a command; returns its stdout."""

    def run(*words):
        words = list(map(str, words))
        ended = subprocess.run(words, cwd=elsewhere, env=environment, capture_output=True, text=True)
        if ended.returncode:
            output = (ended.stdout + ended.stderr)[-4000:]
            pytest.fail(f"{' '.join(words)}\nended with {ended.returncode}:\n{output}", pytrace=False)
        return ended.stdout

    return run


@pytest.fixture(scope="module")
def source(call, tmp_path_factory):
    """The source distribution of the files that git knows, or would."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone, to tell which files belong to the project")
    folder = tmp_path_factory.mktemp("source")
    listed = call("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in listed.split("\0"):
        if (ROOT / name).is_file():
            target = folder / "clone" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    program = "import os, sys; os.chdir(sys.argv[1]); from setuptools.build_meta import build_sdist; build_sdist('..')"
    call(sys.executable, "-c", program, folder / "clone")
    (built,) = folder.glob("leap_fairseq-*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(call, source, tmp_path_factory):
    """Built from it: what it lacks, the wheel lacks too."""
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-index", "--disable-pip-version-check")
    call(sys.executable, "-m", "pip", "wheel", *offline, "--no-build-isolation", "-w", folder, source)
    (built,) = folder.glob("leap_fairseq-*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(call, wheel, tmp_path_factory):
    """Where the commands are of an environment that has the wheel, and all else from the one of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    # pip takes what it finds for installed, so that the other packages must come later.
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    call(*pip, "install", "--no-deps", "--no-index", wheel)
    # Of a path in a .pth file, the .pth files are not read: that of the editable installation does nothing.
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return folder / "bin"


@pytest.fixture(scope="module")
def programs(environment, scripts):
    """Where its commands are that start at once."""
    with ForkedCommands(environment, python=scripts / "python") as forked:
        yield forked.folder


@pytest.fixture(scope="module")
def package(call, scripts):
    """The folder of the installed package."""
    found = call(scripts / "python", "-c", "import leap_fairseq; print(leap_fairseq.__file__)").strip()
    assert Path(found).is_relative_to(scripts.parent)
    return Path(found).parent


def test_the_source_tells_its_licence_and_how_to_cite_it(source):
    with tarfile.open(source) as archive:
        names = {Path(name).name for name in archive.getnames() if name.count("/") == 1}
    assert {"LICENSE", "NOTICE", "CITATION.cff", "CHANGELOG.md", "SECURITY.md", "README.md", "setup.py"} <= names
    assert not names & {"tests", "docs", "scripts"}


def test_it_holds_what_is_not_python(package):
    page = [f"serve/page/{name}" for name in ("index.html", "page.js")]
    for name in ("config/leap_transformer_lm_tiny.yaml", "example/model/checkpoint.pt", *page):
        assert (package / name).is_file(), name
    # No compiler, no library: torch computes then. Where the clone has one, the wheel must too.
    ours, theirs = (list((folder / "attention").glob("_native*")) for folder in (PLUGIN, package))
    assert bool(ours) == bool(theirs)


def test_the_container_serves_from_it(scripts, environment, elsewhere):
    """Its command, at a free port, and its question whether all is well."""
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")
    found = instructions(dockerfile.PATH.read_text(encoding="utf-8"))
    program, *words = only(found, "ENTRYPOINT").words
    command = [scripts / program, *words, "--port", "0"]
    with subprocess.Popen(command, cwd=elsewhere, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            assert line.startswith("http://0.0.0.0:"), line
            port = line.split("/")[2].split(":")[1]
            question = [scripts / "python", "-c", dockerfile.health_program(found, port)]
            assert subprocess.run(question, cwd=elsewhere, env=environment).returncode == 0
        finally:
            server.terminate()
    assert server.returncode == 0
    assert subprocess.run(question, cwd=elsewhere, env=environment, capture_output=True).returncode != 0


def test_the_example_is_translated(call, scripts):
    assert call(scripts / "leap-fairseq", "translate", "--example").split()[1] == "Könnten"


def test_from_a_corpus_to_a_score(call, programs, package, tmp_path):
    def leap(*words):
        return call(programs / "leap-fairseq", *words)

    corpus, data, model, run = (tmp_path / name for name in ("corpus", "data", "model", "run"))
    sizes = "--sentences-train 20 --sentences-dev 4 --sentences-test 2"
    leap("prepare", "travel", corpus, *sizes.split())
    leap("prepare", "mustc", corpus, "--out", data, *"--vocab-size 60 --vocab-type char --specaugment none".split())
    plugin = ("--user-dir", package, "--save-dir", tmp_path / "save")
    call(programs / "python", "-m", "fairseq_cli.train", data, *plugin, *TRAINING.split())
    leap("prepare", "lists", corpus, "--out", tmp_path / "eval")
    leap("export", tmp_path / "save" / "checkpoint_last.pt", model)
    lists = tmp_path / "eval" / "tst-COMMON"
    leap("evaluate", model, lists, run, "--waitk-lagging", 1, "--max-len-b", 20)
    assert "LAAL_CA" in leap("score", run, "--json", tmp_path / "score.json")
    (row,) = json.loads((tmp_path / "score.json").read_text(encoding="utf-8"))
    assert row["sentences"] == 2 and "BLEU" in row and row["signature"].startswith("BLEU|")
    wav = lists.with_suffix(".wav_list").read_text(encoding="utf-8").splitlines()[0]
    words = [line.split()[1] for line in leap("translate", wav, "--model", model, "--waitk-lagging", 1).splitlines()]
    log = (json.loads(line) for line in (run / "instances.log").read_text(encoding="utf-8").splitlines())
    prediction = next(line["prediction"] for line in log if line["index"] == 0)
    # The agent was told to stop after 20 tokens.
    assert " ".join(words).startswith(prediction.rsplit(" ", 1)[0])
    picture = tmp_path / "proportions.png"
    leap("plot", "proportions", model, wav, "--out", picture)
    assert picture.stat().st_size > 5000
