"""Real command lines on tiny data: every model is trained once a run, by the worker that needs it first.

`run` starts a process, as a user does; `run_forked` saves its slow imports (see forked_commands), as does `bash` for
the commands of a script. All run without PYTHONPATH, from a folder that is not the repository's, and show the output of
a command that does not end as it should.
"""

import fcntl
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from document_blocks import Clone
from document_pages import SHORTER, run_pages
from forked_commands import AS_LARGE, ForkedCommands
from preloading import PLUGIN, ROOT

SCRIPTS = Path(sys.executable).parent

LM_OPTIONS = (
    "--task leap_language_modeling --arch leap_transformer_lm_tiny --decoder-layers 2 --dropout 0 "
    "--tokens-per-sample 64 --max-tokens 512 --optimizer adam --lr 0.002 --cpu --seed 1 --log-format simple "
    "--log-interval 1 --no-epoch-checkpoints"
)
SPEECH_OPTIONS = (
    "--task leap_speech_to_text --config-yaml config_st.yaml --train-subset train_st --valid-subset dev_st "
    "--encoder-layers 2 --decoder-layers 1 --dropout 0 --max-source-positions 1000 --max-target-positions 100 "
    "--max-tokens 6000 --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --optimizer adam --lr 0.002 "
    "--cpu --seed 1 --log-format simple --no-epoch-checkpoints --num-workers 0 --validate-interval 100"
)


def pytest_collection_modifyitems(items):
    """All tests of this folder are slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


class Outcome:
    """How a command ended.

    Attributes:
        code: exit code.
        output: stdout and stderr.
        reason: the last line.
    """

    def __init__(self, code, output):
        self.code, self.output = code, output
        self.reason = (output.strip().splitlines() or [""])[-1]


@pytest.fixture(scope="session")
def environment():
    """Of all commands: no PYTHONPATH, one thread, and nothing that the user has exported for the scripts."""
    hidden = "PYTHONPATH PYTHONHOME PYTEST_CURRENT_TEST PROCESSES NODES NODE MASTER RESTARTS PARTS".split()
    return {**{k: v for k, v in os.environ.items() if k not in hidden}, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """The folder that commands run in by default."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="session")
def run(environment, elsewhere):
    """A function: runs a script of the environment (or python) in a process of its own; returns its output."""

    def run_command(command, *args, cwd=elsewhere, stdin="", code=0):
        finished = subprocess.run(
            [SCRIPTS / command, *map(str, args)],
            cwd=cwd,
            env=environment,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return expect(command, args, Outcome(finished.returncode, finished.stdout), code)

    return run_command


@pytest.fixture(scope="session")
def forked(environment):
    """What forks commands (see forked_commands)."""
    with ForkedCommands(environment) as commands:
        yield commands


@pytest.fixture(scope="session")
def run_forked(forked, elsewhere):
    """A function: as `run`, with the slow imports made beforehand."""

    def run_command(command, *args, cwd=elsewhere, stdin="", code=0):
        return expect(command, args, Outcome(*forked.run(command, *args, cwd=cwd, stdin=stdin)), code)

    return run_command


@pytest.fixture(scope="session")
def commands(forked):
    """A folder of commands that start at once."""
    return forked.folder


@pytest.fixture(scope="session")
def worked_in(environment, commands, tmp_path_factory):
    """A function: the clone in which all blocks of some pages ran, one after the other."""

    @functools.cache
    def run(pages):
        clone = Clone(tmp_path_factory.mktemp("clone"), environment, commands)
        shorter = SHORTER.get(pages, ())
        assert run_pages(clone, pages, shorter) == {pattern for pattern, _ in shorter}
        assert clone.new_to_git() == []
        return clone

    return run


@pytest.fixture(scope="session")
def trained_anew(tmp_path_factory):
    """A folder with fairseq-train as it is."""
    folder = tmp_path_factory.mktemp("anew")
    (folder / "fairseq-train").symlink_to(SCRIPTS / "fairseq-train")
    return folder


@pytest.fixture(scope="session")
def bash(elsewhere, environment, commands, trained_anew):
    """A function: runs a script from another directory, with the tools of this environment; returns its output.

    With `anew` its trainings are processes of their own; with `as_large` what measures its commands sees their memory.
    """

    def run(script, *args, code=0, anew=False, as_large=False, **variables):
        variables |= {AS_LARGE: "1"} if as_large else {}
        folders = [*([trained_anew] if anew else []), commands, SCRIPTS, environment["PATH"]]
        path = os.pathsep.join(map(str, folders))
        finished = subprocess.run(
            ["bash", str(script), *map(str, args)],
            cwd=elsewhere,
            env={**environment, "PATH": path, "PYTHONPATH": "/nowhere", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert finished.returncode == code or (code is None and finished.returncode), finished.stdout[-3000:]
        return finished.stdout

    return run


def expect(command, args, outcome, code):
    """Returns the outcome, if the exit code is the expected one; None stands for all codes but 0."""
    wrong = outcome.code == 0 if code is None else outcome.code != code
    if wrong:
        tail = outcome.output[-6000:]
        pytest.fail(f"{command} {' '.join(map(str, args))}\nended with {outcome.code}:\n{tail}", pytrace=False)
    return outcome


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """A function: a folder of a name, filled by the worker that asks first; nobody may change it afterwards."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    shared.mkdir(exist_ok=True)

    def make(name, fill):
        folder, filled = shared / name, shared / f"{name}.filled"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not filled.exists():
                # Of a worker that failed.
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def lm_text(run_forked, once):
    """Some lines of real English: {split}.txt."""

    def write(folder):
        run_forked(ROOT / "data_prep/make_pydoc_text.py", folder / "whole")
        for split, count in (("train", 150), ("valid", 21), ("test", 22)):
            lines = (folder / "whole" / f"{split}.txt").read_text(encoding="utf-8").splitlines()[:count]
            text = "".join(" ".join(line.split()[:60]) + "\n" for line in lines)
            (folder / f"{split}.txt").write_text(text, encoding="utf-8")

    return once("lm_text", write)


@pytest.fixture(scope="session")
def lm_data(run_forked, lm_text, once):
    """The folder of fairseq-preprocess."""
    splits = [part for name in ("train", "valid", "test") for part in (f"--{name}pref", lm_text / f"{name}.txt")]
    command = ("fairseq-preprocess", "--only-source", *splits, "--destdir")
    return once("lm_data", lambda folder: run_forked(*command, folder))


@pytest.fixture(scope="session")
def lm_options(lm_data):
    """A function: the options of fairseq-train for a language model."""
    return lambda save, updates, *more, plugin=PLUGIN: [
        *(lm_data, "--user-dir", plugin, *LM_OPTIONS.split()),
        *("--save-dir", save, "--max-update", updates, *more),
    ]


@pytest.fixture(scope="session")
def lm_checkpoint(run_forked, lm_options, once):
    """A LeaP language model after 2 updates."""
    folder = once("lm_leap", lambda folder: run_forked("fairseq-train", *lm_options(folder, 2)))
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def travel_corpus(run_forked, once):
    """40 + 8 + 8 spoken sentences in MuST-C's layout."""
    sizes = "--sentences-train 40 --sentences-dev 8 --sentences-test 8"
    script = ROOT / "data_prep/make_travel_corpus.py"
    return once("travel", lambda folder: run_forked(script, folder / "corpus", *sizes.split())) / "corpus"


@pytest.fixture(scope="session")
def prepare(run_forked, travel_corpus, once):
    """A function: the corpus prepared with a vocabulary of a size, in a folder of a name."""

    def make(name, vocab_size):
        command = (ROOT / "data_prep/prep_mustc.py", travel_corpus)
        options = f"--vocab-size {vocab_size} --specaugment none"
        return once(name, lambda folder: run_forked(*command, "--out", folder / "data", *options.split())) / "data"

    return make


@pytest.fixture(scope="session")
def speech_data(prepare):
    """Features, manifests and vocabulary."""
    return prepare("speech", 150)


@pytest.fixture(scope="session")
def other_speech_data(prepare):
    """The same with a smaller vocabulary."""
    return prepare("other_speech", 60)


@pytest.fixture(scope="session")
def wavs(run_forked, travel_corpus, once):
    """The first three test sentences: [(path of the wav, reference)]."""
    command = (ROOT / "data_prep/make_eval_list.py", travel_corpus, "--limit", 3, "--out")
    folder = once("wavs", lambda folder: run_forked(*command, folder))
    paths = (folder / "tst-COMMON.wav_list").read_text(encoding="utf-8").splitlines()
    return list(zip(paths, (folder / "tst-COMMON.target").read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="session")
def speech_options(speech_data):
    """A function: the options of fairseq-train for a speech model."""
    return lambda arch, save, updates, *more, data=speech_data, plugin=PLUGIN: [
        *(data, "--user-dir", plugin, "--arch", arch, *SPEECH_OPTIONS.split()),
        *("--save-dir", save, "--max-update", updates, *more),
    ]


@pytest.fixture(scope="session")
def offline_checkpoint(run_forked, speech_options, once):
    """An offline translator after 2 updates."""
    arch = "leap_convtransformer_tiny"
    folder = once("offline", lambda folder: run_forked("fairseq-train", *speech_options(arch, folder, 2)))
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def simul_checkpoint(run_forked, speech_options, offline_checkpoint, once):
    """A wait-k translator for k = 1 to 3, its encoder from the offline one, trained until it writes words."""
    more = ("--waitk-lagging", "1-3", "--load-pretrained-encoder-from", offline_checkpoint)
    arch = "leap_convtransformer_simul_trans_tiny"
    folder = once("simul", lambda folder: run_forked("fairseq-train", *speech_options(arch, folder, 40, *more)))
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def generate_options(speech_data):
    """A function: the options of fairseq-generate for a speech model."""
    options = "--task leap_speech_to_text --config-yaml config_st.yaml --gen-subset tst-COMMON_st --cpu --num-workers 0"
    return lambda checkpoint, *more, data=speech_data, plugin=PLUGIN: [
        *(data, "--user-dir", plugin, *options.split(), "--path", checkpoint, "--max-len-b", 30, *more)
    ]


@pytest.fixture(scope="session")
def agent_options(tmp_path_factory):
    """A function: writes the lists of some recordings; returns the options of simuleval and the folder it writes to."""

    def write(checkpoint, recordings, *more):
        folder = tmp_path_factory.mktemp("simuleval")
        (folder / "source").write_text("".join(f"{path}\n" for path, _ in recordings), encoding="utf-8")
        (folder / "target").write_text("".join(f"{text}\n" for _, text in recordings), encoding="utf-8")
        fixed = "--agent-class leap_fairseq.agents.WaitkAgent --source-segment-size 160 --max-len-b 30"
        lists = ("--source", folder / "source", "--target", folder / "target", "--output", folder / "out")
        metrics = "--quality-metrics BLEU --latency-metrics LAAL AL AP DAL"
        return [*fixed.split(), *metrics.split(), *lists, "--model-path", checkpoint, *more], folder / "out"

    return write


@pytest.fixture(scope="session")
def interpret(run_forked, agent_options):
    """A function: runs simuleval on some recordings; returns the lines of its instances.log."""

    def evaluate(checkpoint, recordings, *more, start=run_forked):
        options, out = agent_options(checkpoint, recordings, *more)
        start("simuleval", *options)
        return [json.loads(line) for line in (out / "instances.log").read_text(encoding="utf-8").splitlines()]

    return evaluate
