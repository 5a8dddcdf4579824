"""Training examples of several sentences: what is joined, what is not, and what the data then holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from fairseq.data import Dictionary
from fairseq.data.audio.speech_to_text_dataset import SpeechToTextDatasetCreator

from leap_fairseq.prepare.joined_segments import MAX_PAUSE, join_segments
from leap_fairseq.prepare.mustc import prep_mustc
from leap_fairseq.speech import NEXT_SENTENCE, DataError
from leap_fairseq.speech.corpus import Segment
from leap_fairseq.speech.mustc import read_split


def segment(number, offset, duration=1.0, talk="a", text="s"):
    return Segment(
        f"{talk}_{number}", Path(f"{talk}.wav"), offset, duration, "x", f"{text}{number}", f"{text}{number}", "en", "de"
    )


def test_an_example_begins_where_the_segment_before_it_ended():
    talk = [segment(n, 0.5 + 1.5 * n) for n in range(40)]
    joined = join_segments(talk, 4)
    assert len(joined) == len(talk)
    counts = []
    for first, example in enumerate(joined):
        count = int(example.id.split("+")[1])
        counts.append(count)
        parts = talk[first : first + count]
        assert example.id == f"{talk[first].id}+{count}"
        assert example.offset == pytest.approx(parts[0].offset - 0.5)
        assert example.offset + example.duration == pytest.approx(parts[-1].offset + 1.0)
        assert example.tgt_text.split(f"{NEXT_SENTENCE} ") == [part.tgt_text for part in parts]
        assert example.src_text == example.tgt_text
    assert set(counts) == {1, 2, 3, 4}
    assert join_segments(talk, 4) == joined


def test_nothing_is_joined_across_gaps_overlaps_talks_or_missing_texts():
    talk = [
        segment(0, 10.0),  # behind a long pause, of which only MAX_PAUSE is taken
        segment(1, 11.2),
        segment(2, 15.0),  # 2.8 s: still a pause
        segment(3, 19.5),  # 3.5 s: none
        segment(4, 20.0),  # overlaps
        replace(segment(5, 21.5), tgt_text=" "),
        segment(6, 23.0),
        segment(0, 0.0, talk="b"),
        segment(0, 0.0, None, talk="c"),
    ]
    joined = join_segments(talk, 9)
    assert [(s.id.split("+")[0], round(s.offset, 3)) for s in joined] == [
        ("a_0", 10 - MAX_PAUSE), ("a_1", 11.0), ("a_2", 12.2), ("a_3", 16.5), ("a_4", 20.0), ("a_6", 22.5), ("b_0", 0.0)
    ]  # fmt: skip
    longest = {}
    for example in joined:
        name, count = example.id.split("+")
        longest[name] = int(count)
    assert longest["a_2"] == longest["a_3"] == longest["a_4"] == longest["a_6"] == longest["b_0"] == 1
    assert longest["a_0"] <= 3 and longest["a_1"] <= 2


def test_a_number_below_one_is_refused():
    with pytest.raises(DataError, match="--join-segments is 0, but must be 1 or more sentences"):
        join_segments([segment(0, 0.0)], 0)


def test_prepared_data_has_both_and_one_piece_for_the_mark(travel_corpus, tmp_path):
    plain = prep_mustc(travel_corpus, out=tmp_path / "plain", vocab_size=60, specaugment="none")
    data = prep_mustc(travel_corpus, out=tmp_path / "data", vocab_size=60, specaugment="none", join=3)
    rows = SpeechToTextDatasetCreator._load_samples_from_tsv(str(data), "train_st")
    single = read_split(travel_corpus, "train", "de")
    assert [row["id"] for row in rows[: len(single)]] == [s.id for s in single]
    joined = rows[len(single) :]
    assert joined and all("+" in row["id"] for row in joined)
    assert any(row["tgt_text"].count(NEXT_SENTENCE) == 2 for row in joined)
    dictionary = Dictionary.load(str(data / "spm_unigram60_st.txt"))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(data / "spm_unigram60_st.model"))
    text = next(row["tgt_text"] for row in joined if NEXT_SENTENCE in row["tgt_text"])
    encoded = pieces.encode(text, out_type=str)
    assert encoded.count(NEXT_SENTENCE) == text.count(NEXT_SENTENCE) and "\u2581" not in encoded[-1:]
    assert dictionary.index(NEXT_SENTENCE) == pieces.piece_to_id(NEXT_SENTENCE) == 4
    assert NEXT_SENTENCE not in Dictionary.load(str(plain / "spm_unigram60_st.txt"))
    for name in ("dev_st.tsv", "tst-COMMON_st.tsv"):
        ids = [(data / name).read_text().splitlines()[n].split("\t")[0] for n in range(1, 3)]
        assert all("+" not in id for id in ids)
    frames = {row["id"]: int(row["n_frames"]) for row in rows}
    longer = [frames[row["id"]] > frames[row["id"].split("+")[0]] for row in joined]
    assert np.mean(longer) == 1.0
