"""The travel phrases and their voices: what is said, how it is laid out, and that it is always the same."""

import collections
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from leap_fairseq.files import DataError
from leap_fairseq.prepare.choices import Choices
from leap_fairseq.prepare.travel import grammar
from leap_fairseq.prepare.travel.corpus import make_travel_corpus
from leap_fairseq.prepare.travel.grammar import TEMPLATES, WORDS, derive, distinct_sentences, read_templates, read_words

SCRIPTS = Path(__file__).parents[2] / "data_prep"
PAIRS = distinct_sentences(4200, seed=1)


def words(text):
    return re.findall(r"[\w']+", text.lower())


@pytest.mark.parametrize(
    "seed, wanted",
    [
        (1, "a8f01e3741a4dac0955af219e8a39edcbbe02b9f0dd267265646958cd536b126"),
        (2, "083555eaea2bc7a5e4138007930c0fe9ef97ec537ae7634775424bd98b0edb0b"),
        (3, "ddbc971a99baaa6fb8615b60ea58e06853ba86ba7a0d3273ef6c0547f2802abd"),
    ],
)
def test_sentences_never_change(seed, wanted):
    """Published scores are those of these sentences. Where the tables change, so must VERSION of the corpus."""
    pairs = PAIRS if seed == 1 else distinct_sentences(4200, seed)
    text = "".join(f"{english}\t{german}\n" for english, german in pairs)
    assert hashlib.sha256(text.encode()).hexdigest() == wanted


def test_each_english_sentence_has_one_german():
    german = {}
    assert len(dict.fromkeys(map(id, TEMPLATES.variants))) == 26
    for template in {id(template): template for template in TEMPLATES.variants}.values():
        choices = Choices(5)
        for _ in range(1500):
            english, translation = derive(template, choices)
            assert german.setdefault(english, translation) == translation


def test_control_an_ambiguous_template_is_caught(monkeypatch):
    table = """
1:
    1:
        I would like a room today.
        Ich möchte heute ein Zimmer.
    1:
        I would like a room today.
        Heute möchte ich ein Zimmer.
"""
    monkeypatch.setattr(grammar, "TEMPLATES", read_templates(table))
    with pytest.raises(AssertionError, match="in two ways"):
        list(grammar.sentences(1))


def test_a_phrase_is_an_entry_of_the_table(monkeypatch):
    """The notation: weights, draws with another name, forms, lists named by words, no word of a list twice."""
    words = read_words("""
shop sells: bakery = die Bäckerei; bread | bank = die Bank; money
bread: bread = Brot
money: coin = die Münze | note = der Schein
near: near {shop} = bei {shop}
""")
    table = """
3: shop other=shop thing={shop.sells}
    {thing} of {shop.the} is not of {other.the}!
    {thing} {shop.vom} ist nicht {other.vom}!
1: near
    Anna is {near}?
    Anna ist {near}?
"""
    monkeypatch.setattr(grammar, "WORDS", words)
    template, choices = read_templates(table), Choices(1)
    drawn = collections.Counter(derive(template, choices) for _ in range(4000))
    assert set(drawn) == {
        ("Bread of the bakery is not of the bank!", "Brot von der Bäckerei ist nicht von der Bank!"),
        ("Coin of the bank is not of the bakery!", "Münze von der Bank ist nicht von der Bäckerei!"),
        ("Note of the bank is not of the bakery!", "Schein von der Bank ist nicht von der Bäckerei!"),
        ("Anna is near bakery?", "Anna ist bei Bäckerei?"),
        ("Anna is near bank?", "Anna ist bei Bank?"),
    }
    assert sum(count for (english, _), count in drawn.items() if english.endswith("?")) == pytest.approx(1000, abs=100)


def test_sentences_are_distinct_and_of_the_right_length():
    assert len({english for english, _ in PAIRS}) == len(PAIRS)
    assert all(6 <= len(english.split()) <= 14 for english, _ in PAIRS)


@pytest.mark.parametrize("side", [0, 1])
def test_vocabulary_is_small_and_every_word_frequent(side):
    counts = collections.Counter(word for pair in PAIRS for word in words(pair[side]))
    assert 150 <= len(counts) <= 250
    assert min(counts.values()) >= 5


@pytest.mark.parametrize(
    "value, english, german",
    [
        (2, "two", "zwei"),
        (12, "twelve", "zwölf"),
        (20, "twenty", "zwanzig"),
        (21, "twenty one", "einundzwanzig"),
        (25, "twenty five", "fünfundzwanzig"),
        (37, "thirty seven", "siebenunddreißig"),
        (46, "forty six", "sechsundvierzig"),
    ],
)
def test_numbers(value, english, german):
    position = value - 2 if value < 13 else value - 20 + 11
    assert WORDS["people"][position] == (english, german)


def test_numbers_outside_of_the_grammar():
    english = [words[0] for words in WORDS["people"]]
    assert len(english) == len(set(english)) == 11 + 30
    assert not {"one", "thirteen", "fifty"} & set(english)


def german_of(name, english):
    return dict(WORDS[name])[english]


@pytest.mark.parametrize(
    "noun, indefinite, definite, at, to",
    [("station", "einen Bahnhof", "den Bahnhof", "am Bahnhof", "zum Bahnhof"),
     ("church", "eine Kirche", "die Kirche", "an der Kirche", "zur Kirche"),
     ("hotel", "ein Hotel", "das Hotel", "am Hotel", "zum Hotel")],
)  # fmt: skip
def test_german_cases(noun, indefinite, definite, at, to):
    noun = german_of("place", noun)
    assert (noun.a, noun.the, noun.am, noun.zum) == (indefinite, definite, at, to)


def test_possessives_agree():
    key, bag, phone = (german_of("belonging", english) for english in ("key", "bag", "phone"))
    for who, wanted in (
        ("my wife", ["ihren Schlüssel", "ihre Tasche", "ihr Handy"]),
        ("we", ["unseren Schlüssel", "unsere Tasche", "unser Handy"]),
    ):
        my = german_of("who", who).my
        assert [f"{my}{noun.ending} {noun}" for noun in (key, bag, phone)] == wanted


def test_waiting_helps():
    """A day that ends the English sentence is mostly said in the first half of the German one."""
    days = dict((english.split()[1], german.split()[1]) for english, german in WORDS["day"])
    places = []
    for english, german in PAIRS:
        last = english.rstrip(".?").split()[-1]
        if last in days:
            position = words(german).index(days[last].lower())
            places.append(position / len(words(german)))
    assert len(places) > len(PAIRS) / 4
    assert np.mean(np.array(places) < 0.5) > 0.6


def test_verbs_and_prefixes_come_last():
    last = collections.Counter(re.sub(r"\W", "", german.split()[-1]) for _, german in PAIRS)
    final = ("buchen", "mieten", "kaufen", "besuchen", "verloren", "vergessen", "gefunden", "ab", "an", "hat", "habe")
    assert all(last[word] > 15 for word in final)
    assert sum(last[word] for word in final) > len(PAIRS) / 3


def test_a_seed_decides_and_another_differs():
    assert distinct_sentences(50, 7) == distinct_sentences(50, 7) != distinct_sentences(50, 8)


def test_too_many_sentences_are_refused(monkeypatch):
    table = "1: who nights=small room\n    {who} {who.have} booked {room.a} for {nights} nights.\n    {who}."
    monkeypatch.setattr(grammar, "TEMPLATES", read_templates(table))
    with pytest.raises(DataError, match="ask for fewer"):
        distinct_sentences(10_000, 1)


def test_layout(travel_corpus):
    seen = collections.Counter()
    for split, count in (("train", 44), ("dev", 6), ("tst-COMMON", 7)):
        folder = travel_corpus / "en-de" / "data" / split
        entries = yaml.safe_load((folder / "txt" / f"{split}.yaml").read_text())
        english, german = ((folder / "txt" / f"{split}.{lang}").read_text().splitlines() for lang in ("en", "de"))
        assert len(entries) == len(english) == len(german) == count
        assert set(entries[0]) == {"duration", "offset", "rW", "speaker_id", "wav"}
        assert [entry["rW"] for entry in entries] == [len(text.split()) for text in english]
        assert {entry["wav"] for entry in entries} == {path.name for path in (folder / "wav").iterdir()}
        seen.update(english)
    assert max(seen.values()) == 1
    assert re.match(r"- \{duration: \d+\.\d{6}, offset: \d+\.\d{6}, rW: \d+, speaker_id: \S+, wav: \S+\.wav\}\n",
                    (folder / "txt" / f"{split}.yaml").read_text())  # fmt: skip


def test_segments_hold_exactly_what_was_voiced(travel_corpus):
    folder = travel_corpus / "en-de" / "data" / "train"
    entries = yaml.safe_load((folder / "txt" / "train.yaml").read_text())
    for wav in {entry["wav"] for entry in entries}:
        samples, rate = soundfile.read(folder / "wav" / wav, dtype="int16")
        assert rate == 16000 and samples.ndim == 1
        spoken, end = np.zeros(len(samples), bool), 0
        for entry in (entry for entry in entries if entry["wav"] == wav):
            start, length = entry["offset"] * rate, entry["duration"] * rate
            assert abs(start - round(start)) < 1e-6 and abs(length - round(length)) < 1e-6
            assert 0.3 * rate - 2 <= round(start) - end <= rate + 2
            end = round(start) + round(length)
            spoken[round(start) : end] = True
            assert np.abs(samples[round(start) : end]).max() > 500
        assert end == len(samples) and not samples[~spoken].any()


def test_bytes_are_the_same_with_other_processes(travel_corpus, tmp_path, hashes):
    again = make_travel_corpus(tmp_path / "again", 44, 6, 7, seed=3, processes=1)
    assert hashes(again) == hashes(travel_corpus)


def test_finished_corpus_is_reused_and_another_refused(travel_corpus, caplog):
    caplog.set_level("INFO")
    before = {path: path.stat().st_mtime_ns for path in travel_corpus.rglob("*")}
    make_travel_corpus(travel_corpus, 44, 6, 7, seed=3)
    assert before == {path: path.stat().st_mtime_ns for path in travel_corpus.rglob("*")}
    assert "reusing" in caplog.text
    with pytest.raises(DataError, match="seed 3 instead of 4"):
        make_travel_corpus(travel_corpus, 44, 6, 7, seed=4)


def test_damage_is_repaired(tmp_path, hashes):
    corpus = make_travel_corpus(tmp_path / "corpus", 3, 2, 2, seed=5)
    expected = hashes(corpus)
    next((corpus / "en-de" / "data" / "dev" / "wav").iterdir()).write_bytes(b"")
    (corpus / "en-de" / "data" / ".train.partial").mkdir()
    (corpus / "en-de" / "data" / "train" / "txt" / "train.de").unlink()
    make_travel_corpus(corpus, 3, 2, 2, seed=5)
    assert hashes(corpus) == expected


def test_foreign_folder_and_wrong_counts_are_refused(tmp_path):
    (tmp_path / "en-de").mkdir()
    with pytest.raises(DataError, match="another corpus"):
        make_travel_corpus(tmp_path, 3, 2, 2)
    with pytest.raises(DataError, match="dev is to have 0 sentences"):
        make_travel_corpus(tmp_path / "new", 3, 0, 2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "corpus.json").write_text(json.dumps([]))
    with pytest.raises(DataError, match="not a corpus.json of this command"):
        make_travel_corpus(tmp_path / "other", 3, 2, 2)


def test_command_line_from_another_directory(tmp_path):
    command = [sys.executable, str(SCRIPTS / "make_travel_corpus.py"), "corpus", "--sentences-train", "0"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr and "train is to have 0 sentences" in result.stderr.splitlines()[-1]
