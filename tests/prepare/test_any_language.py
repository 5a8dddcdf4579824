"""Corpora of any pair of languages: mTEDx, Europarl-ST, MuST-C's layout, and recognition, from disk to SimulEval."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from fairseq.data.audio.audio_utils import get_features_or_waveform
from fairseq.data.audio.speech_to_text_dataset import SpeechToTextDatasetCreator
from fake_corpora import SENTENCES, write_europarl_st, write_mtedx, write_mustc

from leap_fairseq.cli import main
from leap_fairseq.prepare.europarl_st import prep_europarl_st
from leap_fairseq.prepare.lists import make_eval_list
from leap_fairseq.prepare.mtedx import prep_mtedx
from leap_fairseq.prepare.mustc import prep_mustc
from leap_fairseq.scoring.languages import Languages, read_languages, write_languages
from leap_fairseq.scoring.long_references import read_references
from leap_fairseq.speech import DataError, fbank, load_audio
from leap_fairseq.speech.europarl_st import read_corpus, read_split

TRANSCRIPTS, TRANSLATIONS = map(list, zip(*SENTENCES))
OPTIONS = dict(vocab_type="char", specaugment="none")


def rows(folder, name):
    return SpeechToTextDatasetCreator._load_samples_from_tsv(str(folder), name)


def lines(path):
    return path.read_text(encoding="utf-8").split("\n")[:-1]


class TestMtedx:
    def test_both_tasks(self, tmp_path):
        root = write_mtedx(tmp_path / "mtedx", splits=("train", "valid", "test", "iwslt2021"))
        out = prep_mtedx(root, "es", task="both", **OPTIONS)
        assert out == root / "es-en"
        for split, first in (("train", 1), ("dev", 11), ("test", 21), ("iwslt2021", 31)):
            st, asr = rows(out, f"{split}_st"), rows(out, f"{split}_asr")
            assert [row["id"] for row in st][:4] == [f"ted_{first}_{i}" for i in range(3)] + [f"ted_{first + 1}_0"]
            assert [(row["src_text"], row["tgt_text"]) for row in st] == list(SENTENCES)
            assert [row["tgt_text"] for row in asr] == TRANSCRIPTS
            assert {(row["src_lang"], row["tgt_lang"], row["speaker"][:4]) for row in st} == {("es", "en", "spk.")}
            assert {(row["src_lang"], row["tgt_lang"]) for row in asr} == {("es", "es")}
        audio = root / "es-en/data/valid/wav/ted_12.flac"
        frames = get_features_or_waveform(str(out / rows(out, "dev_st")[3]["audio"]))
        np.testing.assert_array_equal(frames, fbank(load_audio(audio, 0.2, 0.35)))

    def test_a_pair_of_transcripts_alone(self, tmp_path):
        root = write_mtedx(tmp_path, tgt_lang="es")
        with pytest.raises(DataError, match="--task is st, but --src-lang and --tgt-lang are both es.*--task asr"):
            prep_mtedx(root, "es", "es", **OPTIONS)
        assert not (root / "es-es/fbank80.zip").exists()
        out = prep_mtedx(root, "es", "es", task="asr", **OPTIONS)
        assert [row["tgt_text"] for row in rows(out, "test_asr")] == TRANSCRIPTS

    def test_a_wrong_pair_and_a_missing_split(self, tmp_path):
        root = write_mtedx(tmp_path, splits=("train", "test"))
        with pytest.raises(DataError, match=r"fr-en/data/train is missing: ROOT must .*--src-lang.* holds es-en"):
            prep_mtedx(root, "fr")
        with pytest.raises(DataError, match="es-en/data/valid is missing"):
            prep_mtedx(root, "es")

    def test_command_lines(self, tmp_path):
        root = write_mtedx(tmp_path / "mtedx")
        words = f"prepare mtedx {root} --src-lang es --vocab-type char --out {tmp_path}/data".split()
        assert main(words) == 0 and len(rows(tmp_path / "data", "dev_st")) == 5
        for split in ("dev", "valid"):
            given = f"prepare lists {root} --corpus mtedx --src-lang es --split {split} --out {tmp_path}/eval"
            assert main(given.split()) == 0
            assert lines(tmp_path / f"eval/{split}.target") == TRANSLATIONS


class TestEuroparlSt:
    def test_both_tasks(self, tmp_path):
        splits = ("train", "dev", "test", "train-noisy")
        root = write_europarl_st(tmp_path, splits=splits)
        out = prep_europarl_st(root, "en", "de", task="both", **OPTIONS)
        assert out == root / "en-de"
        for number, split in enumerate(splits):
            st, asr = rows(out, f"{split}_st"), rows(out, f"{split}_asr")
            ids = [f"en.2008092{number}.31.3-{talk}_{i}" for talk, count in ((1, 3), (2, 2)) for i in range(count)]
            assert [row["id"] for row in st] == ids
            assert [row["speaker"] for row in st] == [f"MEP_{split}_1"] * 3 + [f"MEP_{split}_2"] * 2
            assert [(row["src_text"], row["tgt_text"], row["n_frames"]) for row in st] == [
                (*s, "33") for s in SENTENCES
            ]
            assert [row["tgt_text"] for row in asr] == TRANSCRIPTS
        audio = root / "v1.1/en/audios/en.20080922.31.3-2.flac"
        frames = get_features_or_waveform(str(out / rows(out, "test_st")[4]["audio"]))
        np.testing.assert_array_equal(frames, fbank(load_audio(audio, 0.6, 0.35)))

    def test_m4a_is_refused_with_its_remedy_before_anything_is_written(self, tmp_path, capsys):
        root = write_europarl_st(tmp_path / "st", ending="m4a")
        data, lists = tmp_path / "data", tmp_path / "eval"
        for command, count in (
            (f"europarl-st {root} --out {data}", 6),
            (f"lists {root} --corpus europarl-st --out {lists}", 2),
        ):
            assert main(f"prepare {command} --src-lang en --tgt-lang de".split()) == 1
            (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
            assert f"{count} of {count} recordings are there as m4a alone" in error
            assert f'for f in {root}/v1.1/en/audios/*.m4a; do ffmpeg -nostdin -loglevel error -i "$f"' in error
        assert not data.exists() and not lists.exists()
        # As that command does it.
        for path in (root / "v1.1/en/audios").iterdir():
            soundfile.write(path.with_suffix(".flac"), np.full(40000, 0.1), 16000)
        prep_europarl_st(root, "en", "de", data, **OPTIONS)
        next(iter((root / "v1.1/en/audios").glob("*.flac"))).unlink()
        with pytest.raises(DataError, match="1 of 6 recordings are there as m4a alone"):
            prep_europarl_st(root, "en", "de", data, **OPTIONS)
        # Features that are there need no sound.
        shutil.rmtree(root / "v1.1/en/audios")
        prep_europarl_st(root, "en", "de", data, stage=2, **OPTIONS)

    @pytest.mark.parametrize("place", ["", "v1.1"])
    def test_roots(self, tmp_path, place):
        assert len(read_corpus(write_europarl_st(tmp_path) / place, "en", "de")["test"]) == 5

    @pytest.mark.parametrize(
        "pair, rule",
        [
            (("fr", "de"), r"fr is neither in .* nor in .*v1.1: ROOT must hold .*\(--src-lang\)"),
            (("en", "fr"), r"en/fr/train is missing: .*\(--tgt-lang, --split\); .*v1.1/en has de"),
            (("en", "en"), r"are both en, but must differ: .*--task asr"),
        ],
    )
    def test_wrong_languages(self, tmp_path, pair, rule):
        with pytest.raises(DataError, match=rule):
            read_corpus(write_europarl_st(tmp_path), *pair)

    @pytest.mark.parametrize(
        "line, fault",
        [
            ("en.20080920.31.3-1 0.6", "must be a speech, its begin and its end"),
            ("en.20080920.31.3-1 x 0.95", "begin is 'x', but must be 0 to 604800 s"),
            ("en.20080920.31.3-1 0.6 nan", "end is 'nan'"),
            ("en.20080920.31.3-1 0.6 0.5", "it ends at 0.5 s, before it begins at 0.6 s"),
            ("../../secret 0.6 0.95", "is not inside of audios"),
        ],
    )
    def test_a_line_that_cannot_be_used_is_skipped(self, tmp_path, line, fault):
        root = write_europarl_st(tmp_path)
        path = root / "v1.1/en/de/train/segments.lst"
        found = lines(path)
        path.write_text("\n".join([found[0], line, *found[2:]]) + "\n")
        segments = read_split(root, "train", "de", "en")
        assert segments[1].id == "line 2" and fault in segments[1].fault
        assert [segment.id[-3:] for segment in segments] == ["1_0", "e 2", "1_1", "2_0", "2_1"]

    def test_texts_that_are_not_parallel(self, tmp_path):
        place = write_europarl_st(tmp_path) / "v1.1/en/de/train"
        for name, rule in (("speakers.lst", "speeches.lst has 2 lines, speakers.lst 3"), ("segments.de", "de 6 lines")):
            with open(place / name, "a") as file:
                file.write("one more\n")
            with pytest.raises(DataError, match=f"{rule}, but they must be parallel"):
                read_split(tmp_path, "train", "de", "en")
        (place / "speakers.lst").unlink()
        (place / "segments.de").write_text("".join(f"{text}\n" for text in TRANSLATIONS))
        assert {segment.speaker for segment in read_split(tmp_path, "train", "de", "en")} == {""}


class TestMustcOfAnotherLanguage:
    def test_data_and_lists(self, tmp_path):
        root = write_mustc(tmp_path / "mustc", tgt_lang="en", src_lang="fr")
        words = f"prepare mustc {root} --src-lang fr --tgt-lang en --task both --vocab-type char".split()
        assert main(words) == 0
        for task, languages in (("st", ("fr", "en")), ("asr", ("fr", "fr"))):
            found = rows(root / "fr-en", f"tst-HE_{task}")
            assert {(row["src_lang"], row["tgt_lang"]) for row in found} == {languages}
        given = f"prepare lists {root} --src-lang fr --tgt-lang en --out {tmp_path / 'eval'}".split()
        assert main(given) == 0 and read_languages(tmp_path / "eval/tst-COMMON") == ("fr", "en")
        assert lines(tmp_path / "eval/tst-COMMON.source_text") == TRANSCRIPTS

    def test_transcripts_alone(self, tmp_path):
        root = write_mustc(tmp_path / "mustc", tgt_lang="en")
        out = prep_mustc(root, "en", tmp_path / "data", task="asr", **OPTIONS)
        assert [row["tgt_text"] for row in rows(out, "dev_asr")] == TRANSCRIPTS
        with pytest.raises(DataError, match="--task is both, but .* are both en"):
            prep_mustc(root, "en", tmp_path / "other", task="both", **OPTIONS)
        assert not (tmp_path / "other").exists()


class TestListsOfRecognition:
    def test_sentences(self, tmp_path):
        root = write_mustc(tmp_path / "mustc")
        make_eval_list(root, None, tmp_path / "st")
        make_eval_list(root, None, tmp_path / "asr", task="asr")
        st, asr = tmp_path / "st/tst-COMMON", tmp_path / "asr/tst-COMMON"
        assert lines(st.with_suffix(".target")) == TRANSLATIONS
        assert lines(asr.with_suffix(".target")) == lines(asr.with_suffix(".source_text")) == TRANSCRIPTS
        assert read_languages(st) == ("en", "de") and read_languages(asr) == ("en", "en")

    def test_whole_talks(self, tmp_path):
        root = write_europarl_st(tmp_path / "st")
        options = dict(corpus="europarl-st", src_lang="en", tgt_lang="de", whole_talks=True, task="asr")
        wav_list = make_eval_list(root, None, tmp_path / "eval", **options)
        assert wav_list.name == "test.talks.wav_list"
        talks = read_references(wav_list.with_suffix(".tsv"))
        assert [sentence.target for talk in talks for sentence in talk] == TRANSCRIPTS
        assert read_languages(tmp_path / "eval/test.talks") == ("en", "en")

    @pytest.mark.parametrize("text", ["{", "[]", '{"src_lang": "en"}', '{"src_lang": "en", "tgt_lang": 3}', '{"x": 1}'])
    def test_a_damaged_note_is_said(self, tmp_path, text):
        assert read_languages(tmp_path / "test") == Languages(None, None)
        write_languages(tmp_path / "test", Languages("en", "ja"))
        assert json.loads((tmp_path / "test.languages.json").read_text()) == {"src_lang": "en", "tgt_lang": "ja"}
        (tmp_path / "test.languages.json").write_text(text)
        with pytest.raises(DataError, match="test.languages.json is damaged .*: make the lists again"):
            read_languages(tmp_path / "test")
