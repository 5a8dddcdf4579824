"""What each command imports before it does anything: help needs no library, and no command one that it does not use."""

import json
import signal
import subprocess
import sys

import pytest
from fake_corpora import write_mustc

from leap_fairseq import prepare
from leap_fairseq.cli import COMMANDS
from leap_fairseq.example import MODEL

PROGRAM = """
import contextlib, json, resource, sys
sys.stdout.reconfigure(line_buffering=True)
from leap_fairseq.cli import main
for words in json.loads(sys.argv[1]):
    with contextlib.suppress(SystemExit):
        assert not main(words)
used = resource.getrusage(resource.RUSAGE_SELF)
names = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps({"modules": names, "cpu_seconds": round(used.ru_utime + used.ru_stime, 2)}))
"""

UNUSED = {"scipy", "pandas", "sklearn", "matplotlib", "transformers"}
FRAMEWORKS = {"torch", "fairseq", "simuleval", "aiohttp"}


def check(command, lines, forbidden):
    found = json.loads(lines.splitlines()[-1])
    print(f"{command}: {found['cpu_seconds']} s of CPU, {len(found['modules'])} packages")
    assert "leap_fairseq" in found["modules"] and not forbidden & set(found["modules"])


@pytest.fixture
def imported(start):
    """A function: runs command lines one after another in one process, none of which may import these packages."""

    def run(*commands, without):
        ended = start("-c", PROGRAM, json.dumps([list(map(str, words)) for words in commands]))
        check(commands[-1][:2], ended.stdout, without)

    return run


def test_help(imported):
    given = [[], *([name] for name in COMMANDS), *(["prepare", name] for name in prepare.COMMANDS)]
    imported(*([*words, "--help"] for words in given), without=FRAMEWORKS | UNUSED | {"sacrebleu"})


def test_the_list_of_commands_needs_no_package(imported):
    imported(["--help"], ["prepare", "--help"], without=FRAMEWORKS | UNUSED | {"numpy", "soundfile", "sentencepiece"})


def test_score(imported, simuleval_run):
    imported(["score", simuleval_run], without=FRAMEWORKS | UNUSED)


def test_lists(imported, tmp_path):
    corpus = write_mustc(tmp_path / "corpus", splits=("tst-COMMON",))
    imported(["prepare", "lists", corpus, "--out", tmp_path / "eval"], without=FRAMEWORKS | UNUSED)


def test_a_staircase_needs_matplotlib_alone(imported, simuleval_run, tmp_path):
    pytest.importorskip("matplotlib")
    words = ["plot", "staircase", simuleval_run, "--out", tmp_path / "x.png"]
    imported(words, without=FRAMEWORKS | UNUSED - {"matplotlib"})


def test_translate(imported, model, wav):
    imported(["translate", wav, "--model", model, "--unit", "char"], without=UNUSED | {"aiohttp"})


def test_serve(model, tmp_path):
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")
    words = json.dumps([["serve", "--model", str(model), "--port", "0"]])
    # It leaves at once, without the end of the program.
    command = [sys.executable, "-c", f"import os, sys\nos._exit = sys.exit\n{PROGRAM}", words]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        written, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    check("serve", written, UNUSED)


def test_a_client_needs_no_model(imported):
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'leap-fairseq[serve]'")
    from live_client import serving

    from leap_fairseq.models import load_translator

    with serving(load_translator(MODEL)) as (address, _):
        imported(["client", "--example", "--fast", "--url", address], without=UNUSED | FRAMEWORKS - {"aiohttp"})


def test_what_is_kept_out_of_fairseq_works_when_it_is_called(start):
    """fairseq's own criterion finds scikit-learn and scipy, and so does the program."""
    program = (
        "import leap_fairseq.models, numpy, sys; assert 'sklearn' not in sys.modules and 'scipy' not in sys.modules; "
        "from fairseq.criterions.sentence_prediction import acc_and_f1, matthews_corrcoef, pearson_and_spearman; "
        "from fairseq.tasks.audio_classification import sklearn_metrics; right = numpy.array([1, 0, 1]); "
        "assert acc_and_f1(right, right)['f1'] == 1 and pearson_and_spearman(right, right)['spearmanr'] > 0.99; "
        "assert sklearn_metrics.roc_curve(right, right)[0][-1] == 1; "
        "import sklearn.metrics, scipy.sparse, scipy.stats; assert sklearn.metrics.__file__ and scipy.stats.__file__"
    )
    start("-c", program)


def test_the_check_can_fail(imported, simuleval_run):
    """The control."""
    with pytest.raises(AssertionError):
        imported(["score", simuleval_run], without={"sacrebleu"})
