"""COMET, by a stand-in with the interface of unbabel-comet 2.2: what it is given, the column, the signature, errors."""

import hashlib
import json
import sys
from types import SimpleNamespace

import pytest

from leap_fairseq.cli import main
from leap_fairseq.report.tables import read_tsv
from leap_fairseq.scoring import comet

NAME = "Unbabel/wmt22-comet-da"
TEXTS = ("Guten Morgen allerseits.", "Danke.")
SPOKEN = ("Good morning everybody.", "Thanks.")


class StandIn:
    """Scores a translation by its length; like a regression model, it fails where there is no source.

    Attributes:
        given: the samples of each call.
        loaded: paths of checkpoints.
        kind: "regression", or "unified", which can do without sources.
        fetched: names of models, and their files.
    """

    def __init__(self):
        self.given, self.loaded, self.kind, self.fetched = [], [], "regression", {}

    def load_from_checkpoint(self, checkpoint_path, reload_hparams=False, strict=False, local_files_only=False):
        self.loaded.append(checkpoint_path)
        if "damaged" in checkpoint_path:
            raise Exception("hparams.yaml file is missing")
        return SimpleNamespace(predict=self.predict)

    def download_model(self, model, saving_directory=None, local_files_only=False):
        assert local_files_only  # nothing is fetched unasked
        if model not in self.fetched:
            raise KeyError(f"Model '{model}' not supported by COMET.")
        return self.fetched[model]

    def predict(self, samples, batch_size=16, gpus=1, devices=None, mc_dropout=0, progress_bar=True):
        assert gpus == 0 and progress_bar is False
        self.given.append(samples)
        if self.kind == "regression":
            [sample["src"] for sample in samples]
        scores = [len(sample["mt"]) / 100 for sample in samples]
        return SimpleNamespace(scores=scores, system_score=sum(scores) / len(scores))


@pytest.fixture
def stand_in(monkeypatch):
    module = StandIn()
    monkeypatch.setitem(sys.modules, "comet", module)
    comet._loaded.cache_clear()
    comet._short_digest.cache_clear()
    yield module
    comet._loaded.cache_clear()


@pytest.fixture
def files(tmp_path):
    """A folder with a log of two sentences, one of their talk, its tables, and a model."""
    times = [400.0, 900.0, 1500.0], [800.0]
    lines = []
    for index, (text, delays) in enumerate(zip(TEXTS, times)):
        fields = {"prediction": text, "reference": text, "delays": delays, "elapsed": delays, "source_length": 2000.0}
        lines.append({"index": index, **fields})
    (tmp_path / "instances.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    delays = [*times[0], 2000.0 + times[1][0]]
    talk = {"source": "ted.wav", "prediction": " ".join(TEXTS), "delays": delays}
    (tmp_path / "talk.jsonl").write_text(json.dumps(talk) + "\n")
    header, row = "audio\toffset_ms\tduration_ms\tsource\ttarget\n", "ted.wav\t{}\t2000\t{}\t{}\n"
    rows = [row.format(2000 * i, *pair) for i, pair in enumerate(zip(SPOKEN, TEXTS))]
    (tmp_path / "talks.tsv").write_text(header + "".join(rows))
    yaml = "".join(f"- {{wav: ted.wav, offset: {2 * i}, duration: 2}}\n" for i in range(2))
    (tmp_path / "tst.yaml").write_text(yaml)
    for language, texts in (("de", TEXTS), ("en", SPOKEN)):
        (tmp_path / f"tst.{language}").write_text("\n".join(texts) + "\n")
    (tmp_path / "model/checkpoints").mkdir(parents=True)
    (tmp_path / "model/checkpoints/model.ckpt").write_bytes(b"weights")
    return tmp_path


@pytest.fixture
def score(capsys, tmp_path):
    """A function: scores; returns the exit code, what was written to stdout, to stderr, and the rows."""

    def run(*words):
        out = tmp_path / "scores.tsv"
        out.unlink(missing_ok=True)
        code = main(["score", *map(str, words), "--tsv", str(out)])
        return code, *capsys.readouterr(), read_tsv(out) if code == 0 else None

    return run


WITH_SOURCES = [{"src": source, "mt": text, "ref": text} for source, text in zip(SPOKEN, TEXTS)]


def test_it_is_in_table_and_signature(files, score, stand_in):
    model = files / "model"
    given = (files, files, "--comet", model, "--source-text", files / "tst.en")
    code, printed, _, rows = score(*given)
    assert code == 0 and stand_in.given == [WITH_SOURCES] * 2 and len(stand_in.loaded) == 1  # once for all runs
    assert stand_in.loaded == [str(model / "checkpoints/model.ckpt")]
    assert rows[0]["COMET"] == pytest.approx((len(TEXTS[0]) + len(TEXTS[1])) / 200)
    assert printed.split()[3:5] == ["COMET", "LAAL"] and "0.1500" in printed
    digest = hashlib.sha256(b"weights").hexdigest()[:12]
    assert f" COMET|model:{model}|sha256:{digest}|src:yes|version:unbabel-comet" in rows[0]["signature"]
    # Without the option, nothing of it.
    assert "COMET" not in score(files)[1] and len(stand_in.given) == 2


@pytest.mark.parametrize(
    "words",
    [
        ["talk.jsonl", "--references", "talks.tsv"],
        ["talk.jsonl", "--references", "tst.yaml", "--tgt-lang", "de", "--src-lang", "en"],
        ["talk.jsonl", "--references", "tst.yaml", "--tgt-lang", "de", "--source-text", "tst.en"],
        ["instances.log", "--references", "talks.tsv"],
    ],
)
def test_transcripts_of_any_references(files, score, stand_in, monkeypatch, words):
    monkeypatch.chdir(files)
    code, printed, _, _ = score(*words, "--comet", "model")
    assert code == 0 and stand_in.given == [WITH_SOURCES] and "src:yes" in printed


def test_a_model_that_was_fetched_is_found_by_its_name(files, score, stand_in):
    stand_in.fetched[NAME], stand_in.kind = str(files / "model/checkpoints/model.ckpt"), "unified"
    code, printed, _, _ = score(files, "--comet", NAME)
    assert code == 0 and f"COMET|model:{NAME}|src:no|version:unbabel-comet" in printed
    assert stand_in.given == [[{"mt": text, "ref": text} for text in TEXTS]]


def test_what_is_missing_is_said(files, score, stand_in, monkeypatch):
    model = files / "model"
    (files / "damaged.ckpt").touch()
    for words, message in (
        ((files, "--comet", NAME), f"comet.load_from_checkpoint(comet.download_model('{NAME}'))"),
        ((files, "--comet", "gone.ckpt"), "--comet gone.ckpt: there is no gone.ckpt"),
        ((files, "--comet", files / "damaged.ckpt"), "cannot load"),
        ((files, "--comet", model), "needs the transcripts of the speech: give them (--source-text)"),
        ((files, "--source-text", files / "tst.en"), "is read by --comet alone: give a MODEL, or leave it out"),
        ((files, "--comet", model, "--source-text", files / "talks.tsv"), "there are 3 transcripts (--source-text)"),
        (
            (files, "--comet", model, "--references", files / "talks.tsv", "--source-text", files / "tst.en"),
            "has texts of its own: leave it out",
        ),
    ):
        code, printed, error, _ = score(*words)
        assert (code, printed) == (1, "") and message in error and error.count("\n") == 1, error
    monkeypatch.setitem(sys.modules, "comet", None)
    comet._loaded.cache_clear()
    assert "needs unbabel-comet: pip install 'leap-fairseq[comet]'" in score(files, "--comet", model)[2]
