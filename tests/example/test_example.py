"""The model that comes with the package translates as its card says, is small, and is in the wheel.

Its test set is made again, by the voices that made it: the same bytes.
"""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from preloading import ROOT

from leap_fairseq.cli import main
from leap_fairseq.example import CARD, MODEL, RECORDING, TRANSCRIPT
from leap_fairseq.models import load_translator
from leap_fairseq.models.translator_checkpoint import read_checkpoint
from leap_fairseq.prepare.travel.corpus import make_travel_corpus
from leap_fairseq.scoring.run import score_run
from leap_fairseq.speech import SAMPLE_RATE, load_segments, mustc
from leap_fairseq.speech.corpus import by_file
from leap_fairseq.streaming import finish_batch, push_batch

FOLDER, TEST_SET = CARD.parent, 500
DATA = {path for path in FOLDER.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}

OTHER_CPU = 1.0
"""BLEU. Sums in another order are other numbers, and once in a while another word."""


def facts():
    """What the card has for programs."""
    return yaml.safe_load(CARD.read_text(encoding="utf-8").split("---\n")[1])


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A function: the first sentences of the test set, each with its samples."""
    pytest.importorskip("py_nanotts", reason="needs the voices: pip install 'leap-fairseq[data]'")

    def make(count):
        corpus = make_travel_corpus(tmp_path_factory.mktemp("travel"), 1, 1, count, processes=1)
        segments = mustc.read_split(corpus, "tst-COMMON", "de")
        sound = {}
        for audio, indices in by_file(segments):
            times = [(segments[index].offset, segments[index].duration) for index in indices]
            sound.update(zip(indices, load_segments(audio, times)))
        return [(segment, sound[index]) for index, segment in enumerate(segments)]

    return make


def policy_of(row):
    """The options of a row's policy."""
    return {
        "waitk_lagging" if name == "waitk" else name: row[name] for name in row.keys() - {"sentences", "BLEU", "LAAL"}
    }


def scores(translator, options, sentences, folder):
    """BLEU and LAAL of sentences that are streamed together, a decision at a time; as `leap-fairseq evaluate` would."""
    policy = translator.policy.configured(**options)
    streams, written = [translator.new_stream(policy) for _ in sentences], [[] for _ in sentences]
    for first in range(0, max(len(samples) for _, samples in sentences), 2560):
        pieces = [samples[first : first + 2560] for _, samples in sentences]
        for words, new in zip(written, push_batch(streams, pieces, SAMPLE_RATE)):
            words += new
    with open(folder / "instances.log", "w", encoding="utf-8") as log:
        for index, (words, new) in enumerate(zip(written, finish_batch(streams))):
            segment, samples = sentences[index]
            delays = [word.delay for word in words + new]
            line = {"index": index, "prediction": " ".join(word.text for word in words + new), "delays": delays}
            line |= {"elapsed": delays, "reference": segment.tgt_text, "source_length": len(samples) / 16}
            log.write(json.dumps(line) + "\n")
    return score_run(folder)


def test_it_translates_as_its_card_says(spoken, tmp_path):
    waitk, sure = (row for row in facts()["scores"] if row["sentences"] < TEST_SET)
    sentences = spoken(waitk["sentences"])
    for row in (waitk, sure):
        found = scores(load_translator(MODEL), policy_of(row), sentences, tmp_path)
        assert found["BLEU"] >= row["BLEU"] - OTHER_CPU and found["LAAL"] == pytest.approx(row["LAAL"], abs=50)
    # The control: what it hears is not normalised as in its training.
    broken = load_translator(MODEL, max_len_b=15)
    broken.cmvn = None
    assert scores(broken, policy_of(waitk), sentences[:10], tmp_path)["BLEU"] < 20


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_whole_test_set(spoken, tmp_path):
    sentences = spoken(TEST_SET)
    for options in ({"waitk_lagging": 5}, {"policy": "confidence", "threshold": 0.9}):
        row = next(row for row in facts()["scores"] if (row["sentences"], policy_of(row)) == (TEST_SET, options))
        found = scores(load_translator(MODEL), options, sentences, tmp_path)
        assert found["BLEU"] >= row["BLEU"] - OTHER_CPU and found["LAAL"] == pytest.approx(row["LAAL"], abs=50)


def test_the_command_writes_what_the_card_shows(capsys):
    assert main(["translate", "--example"]) == 0
    written = capsys.readouterr()
    shown = re.search(r"^```text\n(.*?)^```$", CARD.read_text(encoding="utf-8"), re.M | re.S)[1]
    assert written.out == shown and len(shown.splitlines()) == 11
    assert f"{RECORDING}: {TRANSCRIPT}\n" in written.err


@pytest.mark.parametrize(
    "words, reason",
    [
        ("--example speech.wav", "FILE speech.wav does not go with the example, which has its own"),
        ("--example --model mine", "--model mine does not go with the example, which has its own: leave it out"),
        ("--example --data-bin mine", f"choose a model with --model (that of the example is {MODEL})"),
        ("speech.wav", "give FILE and --model DIR, or --example alone"),
        ("--model mine", "give FILE and --model DIR, or --example alone"),
        ("", "give FILE and --model DIR, or --example alone"),
    ],
)
def test_what_does_not_go_with_it(capsys, words, reason):
    with pytest.raises(SystemExit) as ended:
        main(["translate", *words.split()])
    assert ended.value.code == 2 and reason in capsys.readouterr().err.splitlines()[-1]


def test_it_is_small_and_of_half_precision():
    assert len(DATA) == 7 and sum(path.stat().st_size for path in DATA) <= 3_000_000
    state, policy = read_checkpoint(MODEL)
    weights = [tensor for tensor in state["model"].values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in weights} == {torch.float16}
    options = state["cfg"]["model"]
    blocks = (options.encoder_self_attention, options.decoder_self_attention, options.decoder_cross_attention)
    assert set(blocks) == {"contrast"} and options.waitk_lagging == facts()["waitk"] and policy.decision_frames == 4


def test_the_wheel_has_all_of_it(monkeypatch):
    setuptools = pytest.importorskip("setuptools", reason="needs setuptools, as a build does")
    monkeypatch.chdir(ROOT)
    described = {}
    monkeypatch.setattr(setuptools, "setup", lambda **fields: described.update(fields))
    exec(Path("setup.py").read_text(encoding="utf-8"), {"__file__": "setup.py"})
    patterns = described["package_data"]["leap_fairseq.example"]
    assert {path for pattern in patterns for path in FOLDER.glob(pattern)} == DATA
    assert "leap_fairseq.example" in described["packages"]
