"""SimulEval's inputs: parallel lists that its own loader reads, wavs that hold exactly the segments."""

import shutil

import numpy as np
import pytest
import soundfile
from fake_corpora import SENTENCES, write_covost, write_mustc

from leap_fairseq.cli import command
from leap_fairseq.prepare import lists
from leap_fairseq.prepare.covost import prep_covost
from leap_fairseq.prepare.lists import make_eval_list
from leap_fairseq.prepare.mustc import prep_mustc
from leap_fairseq.scoring.long_references import read_references
from leap_fairseq.speech import DataError, load_audio
from leap_fairseq.speech.corpus import by_file
from leap_fairseq.speech.mustc import read_split


def lines(path):
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def test_simuleval_reads_it(travel_corpus, tmp_path, monkeypatch):
    loader = pytest.importorskip("simuleval.data.dataloader.s2t_dataloader").SpeechToTextDataloader
    make_eval_list(travel_corpus, "tst-COMMON", tmp_path)
    monkeypatch.chdir("/")
    data = loader.from_files(tmp_path / "tst-COMMON.wav_list", tmp_path / "tst-COMMON.target", None)
    segments = read_split(travel_corpus, "tst-COMMON", "de")
    assert len(data) == len(segments) == 7
    for index, segment in enumerate(segments):
        samples = load_audio(segment.audio, segment.offset, segment.duration)
        np.testing.assert_array_equal(np.array(data[index]["source"], np.float32), samples)
        assert data[index]["target"] == segment.tgt_text
        assert soundfile.info(data.get_source_audio_path(index)).subtype == "PCM_16"
    assert lines(tmp_path / "tst-COMMON.source_text") == [segment.src_text for segment in segments]


def test_limit_and_second_run(travel_corpus, tmp_path):
    make_eval_list(travel_corpus, "dev", tmp_path)
    make_eval_list(travel_corpus, "dev", tmp_path, limit=2)
    assert len(lines(tmp_path / "dev.wav_list")) == len(lines(tmp_path / "dev.target")) == 2
    assert len(list((tmp_path / "dev_wavs").iterdir())) == 2
    with pytest.raises(DataError, match="--limit"):
        make_eval_list(travel_corpus, "dev", tmp_path, limit=0)


def test_same_sentences_as_the_manifest_when_some_are_broken(travel_corpus, tmp_path, caplog):
    corpus = shutil.copytree(travel_corpus, tmp_path / "corpus")
    yaml_file = corpus / "en-de" / "data" / "dev" / "txt" / "dev.yaml"
    entries = yaml_file.read_text().splitlines()
    entries[2] = entries[2].replace("offset: ", "offset: 9")
    yaml_file.write_text("\n".join(entries) + "\n")
    texts = corpus / "en-de" / "data" / "dev" / "txt" / "dev.de"
    texts.write_bytes(texts.read_bytes().replace(b" ", b" \r", 1))
    make_eval_list(corpus, "dev", tmp_path / "eval")
    out = prep_mustc(corpus, out=tmp_path / "data", vocab_size=70)
    ids = [line.split("\t")[0] for line in lines(out / "dev_st.tsv")[1:]]
    wavs = [line.rsplit("/", 1)[1] for line in lines(tmp_path / "eval" / "dev.wav_list")]
    assert wavs == [f"{name}.wav" for name in ids]
    assert len(ids) == 5 and "left out" in caplog.text
    assert "\r" not in (tmp_path / "eval" / "dev.target").read_text()


def test_48_khz_becomes_16_khz(travel_corpus, tmp_path):
    corpus = shutil.copytree(travel_corpus, tmp_path / "corpus")
    wav = by_file(read_split(corpus, "dev", "de"))[0][0]
    samples, _ = soundfile.read(wav)
    soundfile.write(wav, np.stack([np.repeat(samples, 3)] * 2, 1), 48000)
    make_eval_list(corpus, "dev", tmp_path / "eval")
    info = soundfile.info(lines(tmp_path / "eval" / "dev.wav_list")[0])
    assert (info.samplerate, info.channels) == (16000, 1)


def test_split_without_audio_is_refused(travel_corpus, tmp_path):
    corpus = shutil.copytree(travel_corpus, tmp_path / "corpus")
    shutil.rmtree(corpus / "en-de" / "data" / "dev" / "wav")
    with pytest.raises(DataError, match="no sentence of dev has audio"):
        make_eval_list(corpus, "dev", tmp_path / "eval")
    with pytest.raises(DataError, match="tst-HE"):
        make_eval_list(corpus, "tst-HE", tmp_path / "eval")
    assert not list((tmp_path / "eval").iterdir())


class TestWholeTalks:
    def test_lists_and_table(self, tmp_path):
        root = write_mustc(tmp_path / "mustc", splits=("dev",))
        wav_list = make_eval_list(root, "dev", tmp_path / "eval", whole_talks=True)
        assert wav_list == tmp_path / "eval" / "dev.talks.wav_list"
        assert lines(wav_list) == [str(tmp_path / "eval" / "dev_talks" / f"ted_{talk}.wav") for talk in (1, 2)]
        assert lines(tmp_path / "eval" / "dev.talks.target") == [
            'Er sagte: "nein" \\ ja. Ein \\\\ und ein \\t ""',
            "Guten Morgen. Eins zwei „drei“.",
        ]
        talks = read_references(tmp_path / "eval" / "dev.talks.tsv")
        assert [(s.audio, s.offset, s.duration) for s in talks[1]] == [
            ("ted_2.wav", 200.0, 350.0),
            ("ted_2.wav", 600.0, 350.0),
        ]
        assert [(s.source, s.target) for talk in talks for s in talk] == list(SENTENCES)
        assert not (tmp_path / "eval" / "dev_wavs").exists() and not (tmp_path / "eval" / "dev.target").exists()

    def test_the_wavs_are_the_talks_from_beginning_to_end(self, tmp_path):
        root = write_mustc(tmp_path / "mustc", splits=("dev",))
        audio = root / "en-de" / "data" / "dev" / "wav" / "ted_2.wav"
        samples, rate = soundfile.read(audio)
        soundfile.write(audio, np.stack([np.repeat(samples, 3)] * 2, 1), 3 * rate)
        for wav in lines(make_eval_list(root, "dev", tmp_path / "eval", whole_talks=True)):
            info, name = soundfile.info(wav), wav.rsplit("/", 1)[1]
            assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
            np.testing.assert_allclose(load_audio(wav), load_audio(audio.with_name(name)), atol=2**-15)

    def test_limit_counts_talks(self, tmp_path):
        root = write_mustc(tmp_path / "mustc", splits=("dev",))
        make_eval_list(root, "dev", tmp_path / "eval", whole_talks=True)
        wav_list = make_eval_list(root, "dev", tmp_path / "eval", whole_talks=True, limit=1)
        assert len(lines(wav_list)) == 1 and len(lines(wav_list.with_suffix(".tsv"))) == 1 + 3
        assert [wav.name for wav in (tmp_path / "eval" / "dev_talks").iterdir()] == ["ted_1.wav"]

    def test_same_sentences_as_without_whole_talks(self, tmp_path, caplog):
        root = write_mustc(tmp_path / "mustc", splits=("dev",))
        text = root / "en-de" / "data" / "dev" / "txt" / "dev.yaml"
        entries = text.read_text().splitlines()
        entries[0] = entries[0].replace("offset: ", "offset: 9")  # behind the end of the talk
        entries[4] = entries[4].replace("duration: 0.35", "duration: 3.5")  # over its end
        text.write_text("\n".join(entries) + "\n")
        texts = text.with_suffix(".de")
        texts.write_text(texts.read_text().replace("Ein ", "Ein\t").replace("Eins ", "Eins\u2028"))
        make_eval_list(root, "dev", tmp_path / "eval")
        make_eval_list(root, "dev", tmp_path / "eval", whole_talks=True)
        sentences = [s for talk in read_references(tmp_path / "eval" / "dev.talks.tsv") for s in talk]
        single = [line.replace("\t", " ") for line in lines(tmp_path / "eval" / "dev.target")]
        assert [s.target for s in sentences] == single and len(single) == 4
        assert (sentences[-1].offset, sentences[-1].duration) == (600.0, 500.0)
        assert caplog.text.count("left out") == 2

    def test_talk_without_audio_is_left_out(self, tmp_path, caplog):
        root = write_mustc(tmp_path / "mustc", splits=("dev",))
        wavs = root / "en-de" / "data" / "dev" / "wav"
        (wavs / "ted_1.wav").unlink()
        assert len(lines(make_eval_list(root, "dev", tmp_path / "eval", whole_talks=True))) == 1
        assert "left out ted_1" in caplog.text
        (wavs / "ted_2.wav").unlink()
        with pytest.raises(DataError, match="no sentence of dev has audio"):
            make_eval_list(root, "dev", tmp_path / "other", whole_talks=True)
        assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("published", [False, True])
def test_covost(tmp_path, published):
    root = write_covost(tmp_path / "cv", "fr", "en", published=published)
    (root / "fr" / "clips" / "common_voice_test_2.mp3").write_bytes(b"")
    wav_list = make_eval_list(root, None, tmp_path / "eval", corpus="covost", src_lang="fr")
    kept = [SENTENCES[index] for index in (0, 1, 3, 4)]
    source, target = ((tmp_path / "eval" / f"test.{name}").read_bytes() for name in ("source_text", "target"))
    assert source == "".join(f"{text}\n" for text, _ in kept).encode()
    assert target == "".join(f"{text}\n" for _, text in kept).encode()
    out = prep_covost(root, "fr", "en", tmp_path / "data", vocab_type="char")
    ids = [line.split("\t")[0] for line in lines(out / "test_st.tsv")[1:]]
    for wav, name in zip(lines(wav_list), ids):
        assert wav == str(tmp_path / "eval" / "test_wavs" / f"{name}.wav")
        info, samples = soundfile.info(wav), load_audio(root / "fr" / "clips" / f"{name}.mp3")
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        np.testing.assert_allclose(load_audio(wav), samples, atol=2**-15)


def test_texts_are_those_of_mustc_byte_for_byte(tmp_path):
    root = write_mustc(tmp_path / "mustc", 3)
    make_eval_list(root / "en-de", "tst-HE", tmp_path / "eval")
    for name, language in (("target", "de"), ("source_text", "en")):
        original = root / "en-de" / "data" / "tst-HE" / "txt" / f"tst-HE.{language}"
        assert (tmp_path / "eval" / f"tst-HE.{name}").read_bytes() == original.read_bytes()


def test_control_a_changed_line_is_noticed(tmp_path, monkeypatch):
    root = write_mustc(tmp_path / "mustc", splits=("dev",))
    write = lists.whole_file

    def other(path, text):
        return write(path.with_suffix(".other") if path.suffix == ".target" else path, text)

    make_eval_list(root, "dev", tmp_path / "eval")
    target = tmp_path / "eval" / "dev.target"
    target.write_text(target.read_text().replace("Guten", "guten"))
    monkeypatch.setattr(lists, "whole_file", other)
    with pytest.raises(DataError, match="dev.target: line 4 is 'guten Morgen.' instead of 'Guten Morgen.'"):
        make_eval_list(root, "dev", tmp_path / "eval")


@pytest.mark.parametrize(
    "options, rule",
    [
        (dict(corpus="covost"), "give --src-lang"),
        (dict(corpus="covost", src_lang="en", split="tst-COMMON"), "--split is 'tst-COMMON'.* train, dev, test"),
        (dict(corpus="librispeech"), "--corpus is 'librispeech'"),
        (dict(src_lang="fr"), r"fr-de/data/tst-COMMON is missing: .*\(--src-lang, --tgt-lang\)"),
        (dict(corpus="mtedx"), "--corpus mtedx needs the language of the speech: give --src-lang"),
        (dict(task="both"), "--task is 'both', but must be one of st, asr"),
        (dict(corpus="covost", src_lang="fr", whole_talks=True), "leave --whole-talks out"),
    ],
)
def test_wrong_corpus_options(tmp_path, options, rule):
    with pytest.raises(DataError, match=rule):
        make_eval_list(tmp_path, **{"split": None, "out": tmp_path / "eval", **options})


def test_command_lines(tmp_path):
    mustc, cv = write_mustc(tmp_path / "mustc"), write_covost(tmp_path / "cv")
    out = tmp_path / "eval"
    for line in (
        f"{mustc} --split tst-HE --out {out} --tgt-lang de --limit 3",
        f"{mustc} --out {out}",
        f"{cv} --corpus covost --src-lang en --tgt-lang de --split dev --out {out}",
        f"{mustc} --split tst-HE --out {out} --whole-talks --limit 1",
    ):
        assert command.main(lists, line.split()) == 0
    assert [len(lines(out / f"{split}.wav_list")) for split in ("tst-HE", "tst-COMMON", "dev")] == [3, 5, 5]
    assert len(lines(out / "tst-HE.talks.wav_list")) == 1
