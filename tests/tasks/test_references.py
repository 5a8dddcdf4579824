"""fairseq-generate scores speech models against the texts of the manifest, whatever the dictionary lacks."""

import csv
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from exported_model import write_model
from fairseq import options
from fairseq.tasks.speech_to_text import SpeechToTextTask
from fairseq_cli import generate

from leap_fairseq.tasks.leap_speech_to_text import LeapSpeechToTextTask
from leap_fairseq.tasks.references import _divided_alike

TEXTS = {
    "test": ["Der Zug fährt heute.", "Xaver fährt Yacht in Köln.", "Zimmer ½, ﬁnal … 你好，吗", "Wir fahren am Montag"],
    "more": ["Wir fahren am Samstag", "Qualle, wann kommt der Bus?"],
}
"""Letters that the vocabulary lacks, and such as SentencePiece normalises to others."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A translator with random weights, and subsets of recordings with these texts."""
    folder = write_model(tmp_path_factory.mktemp("speech") / "data")
    chance = np.random.default_rng(0)
    for split, texts in TEXTS.items():
        with open(folder / f"{split}.tsv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
            table.writerow(["id", "audio", "n_frames", "tgt_text"])
            for number, text in enumerate(texts):
                path = folder / f"{split}{number}.npy"
                np.save(path, chance.standard_normal((40 + 4 * number, 80)).astype(np.float32))
                table.writerow([f"{split}{number}", path, 40 + 4 * number, text])
    return folder


@pytest.fixture
def run(folder, capsys):
    """A function: runs fairseq-generate; returns the references that it printed by their number, and its last line."""

    def call(*words):
        given = ["--path", folder / "checkpoint.pt", "--task", "leap_speech_to_text", "--config-yaml", "config.yaml"]
        given += ["--cpu", "--num-workers", 0, "--batch-size", 2, "--max-len-b", 8, "--beam", 1]
        given += ["--required-batch-size-multiple", 1, *words]
        parsed = options.parse_args_and_arch(options.get_generation_parser(), [str(folder), *map(str, given)])
        generate.main(parsed)
        printed = capsys.readouterr().out
        references = dict(re.findall(r"^T-(\d+)\t(.*)$", printed, re.MULTILINE))
        return {int(number): text for number, text in references.items()}, printed.splitlines()[-1]

    return call


@pytest.fixture
def perfect(monkeypatch):
    """Every hypothesis is the text of the manifest."""

    def inference_step(self, generator, models, sample, prefix_tokens=None, constraints=None):
        found = []
        for index in sample["id"].tolist():
            words = "\u2581" + self.datasets["test"].tgt_texts[index].replace(" ", " \u2581")
            tokens = self.tgt_dict.encode_line(words, append_eos=True)
            found.append([dict(tokens=tokens, score=0.0, alignment=None, positional_scores=tokens.float())])
        return found

    monkeypatch.setattr(SpeechToTextTask, "inference_step", inference_step)


@pytest.fixture
def editdistance(monkeypatch):
    """In place of the package that fairseq takes for the word error rate: different words, of texts as long."""
    monkeypatch.setitem(
        sys.modules, "editdistance", SimpleNamespace(eval=lambda ref, hyp: sum(a != b for a, b in zip(ref, hyp)))
    )


def test_a_perfect_hypothesis(run, perfect, editdistance):
    references, result = run("--gen-subset", "test", "--scoring", "sacrebleu")
    assert references == dict(enumerate(TEXTS["test"])) and "BLEU = 100.00 100.0/100.0/100.0/100.0" in result
    assert run("--gen-subset", "test", "--scoring", "wer")[1].endswith("WER: 0.00")


def test_control_fairseqs_own_references(run, perfect, editdistance, monkeypatch):
    monkeypatch.delattr(LeapSpeechToTextTask, "inference_step")
    references, result = run("--gen-subset", "test", "--scoring", "sacrebleu")
    assert "<<unk>>" in references[1] and references[2] != TEXTS["test"][2] and "BLEU = 100" not in result


def test_tokens_that_the_model_knows_are_what_they_were(run, monkeypatch):
    """So that a score of tokens is what it was: what is unknown matched nothing before."""
    references, expected = run("--gen-subset", "more")
    assert references == dict(enumerate(TEXTS["more"]))
    monkeypatch.delattr(LeapSpeechToTextTask, "inference_step")
    references, result = run("--gen-subset", "more")
    assert "<<unk>>" in references[1] and result == expected


@pytest.mark.parametrize(
    "text, symbols, expected",
    [
        ("_a½c", ["_a", "1/", "2", "c"], ["_a", "½", "c"]),
        ("_你好，吗_b", ["_你好", ",", "吗_", "b"], ["_你好", "，", "吗_", "b"]),
        ("_a__b", ["_a", "_b"], ["_a", "__b"]),
        ("x_a", ["_a"], ["x_a"]),
        ("_a", ["_a", "..."], ["_a"]),
    ],
)
def test_a_text_is_cut_as_its_tokens(text, symbols, expected):
    cut = _divided_alike(text, symbols)
    assert "".join(cut) == text and cut == expected


def test_joined_subsets(run, folder):
    """Whose sentences have the same numbers."""
    references, _ = run("--gen-subset", "test,more", "--scoring", "sacrebleu", "--batch-size", 1)
    assert set(references.values()) <= {text for texts in TEXTS.values() for text in texts} and len(references) == 4
    # Two texts of the same number that differ in what the dictionary lacks alone.
    table = (folder / "more.tsv").read_text(encoding="utf-8")
    (folder / "most.tsv").write_text(table.replace("Wir fahren am Samstag", "Der Zug fährt heuteQ"), encoding="utf-8")
    (folder / "test2.tsv").write_text(table.replace("Wir fahren am Samstag", "Der Zug fährt heuteX"), encoding="utf-8")
    with pytest.raises(ValueError, match="2 subsets may hold reference 0: give one --gen-subset at a time"):
        run("--gen-subset", "most,test2", "--scoring", "sacrebleu")
