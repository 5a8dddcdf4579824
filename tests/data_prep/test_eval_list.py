"""SimulEval's inputs: parallel lists that its own loader reads, wavs that hold exactly the segments."""

import shutil

import numpy as np
import pytest
import soundfile
from make_eval_list import make_eval_list
from prep_mustc import prep_mustc

from leap_fairseq.speech import DataError, load_audio
from leap_fairseq.speech.mustc import by_talk, read_split


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
        samples = load_audio(segment.wav, segment.offset, segment.duration)
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
    wav = by_talk(read_split(corpus, "dev", "de"))[0][0]
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
