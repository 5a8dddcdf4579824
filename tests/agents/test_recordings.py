"""SimulEval reads the recordings of a list as everything else here does."""

import argparse
import functools

import numpy as np
import pytest
import soundfile
from simuleval.data.dataloader import build_dataloader
from simuleval.data.dataloader.s2t_dataloader import SpeechToTextDataloader
from simuleval.evaluator.instance import SpeechToTextInstance

from leap_fairseq.agents import WaitkAgent
from leap_fairseq.agents.recordings import Recordings
from leap_fairseq.agents.waitk_agent import check_recordings

SAMPLES = (np.random.default_rng(0).standard_normal((8000, 2)) * 0.1).astype(np.float32)


@pytest.fixture
def source(tmp_path):
    """A list of a good recording, one of two channels, and one whose header says 0 bytes."""
    paths = [tmp_path / name for name in ("mono.wav", "stereo.flac", "lie.wav")]
    soundfile.write(paths[0], SAMPLES[:, 0], 16000)
    soundfile.write(paths[1], SAMPLES, 48000)
    content = paths[0].read_bytes()
    paths[2].write_bytes(content[:40] + bytes(4) + content[44:])
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in paths))
    return tmp_path / "list"


def load(source, **options):
    facts = dict(source=str(source), target=str(source), tgt_lang=None, source_type="speech", target_type="text")
    return build_dataloader(argparse.Namespace(**facts, **options))


def test_the_agent_chooses_the_reader_unless_the_user_does(source):
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataloader", default=None)
    WaitkAgent.add_args(parser)
    words = ["--model-path", "x"]
    chosen = parser.parse_args(words).dataloader
    assert type(load(source, dataloader=chosen)) is Recordings
    other = parser.parse_args([*words, "--dataloader", "speech-to-text"]).dataloader
    assert type(load(source, dataloader=other)) is SpeechToTextDataloader


def test_it_reads_what_simuleval_reads_and_what_is_there(source, caplog):
    ours, theirs = load(source, dataloader="leap-fairseq"), load(source)
    for index in (0, 1):
        assert ours[index]["source"] == theirs[index]["source"]
    assert theirs[2]["source"] == []  # the control: nothing, in silence
    assert ours[2]["source"] == ours[0]["source"]
    assert [info.samplerate for info in map(ours.get_source_audio_info, range(3))] == [16000, 48000, 16000]
    assert "lie.wav: its header says 0 bytes" in caplog.text


def test_a_recording_is_read_once(source, monkeypatch):
    def read_by(loader):
        paths, read = [], loader.preprocess_source
        monkeypatch.setattr(loader, "preprocess_source", lambda path: (paths.append(path), read(path))[1])
        facts = argparse.Namespace(eval_latency_unit="word")
        return [SpeechToTextInstance(index, loader, facts).source for index in range(3)], paths

    ours, paths = read_by(load(source, dataloader="leap-fairseq"))
    assert paths == source.read_text().split()
    theirs, paths = read_by(load(source))
    assert len(paths) == 9  # the control
    assert ours[:2] == theirs[:2] and ours[2] == ours[0]


def test_texts_are_utf8_whatever_the_machine_takes_for_its_own(source, tmp_path, monkeypatch):
    texts = ["Ich möchte nach Köln.", "eine Zeile\u2028und\rkeine zwei", ""]
    (tmp_path / "target").write_text("\n".join([*texts, ""]), encoding="utf-8", newline="")
    (tmp_path / "latin").write_bytes("Köln\n".encode("latin-1"))
    in_latin = functools.partial(open, encoding="latin-1")
    monkeypatch.setattr("simuleval.data.dataloader.s2t_dataloader.open", in_latin, raising=False)
    ours = Recordings.from_files(str(source), str(tmp_path / "target"), str(tmp_path / "target"))
    assert [ours.get_target(index) for index in range(3)] == texts == [ours.get_tgt_lang(index) for index in range(3)]
    assert Recordings.from_files(str(source), str(tmp_path / "target"), None).get_tgt_lang(0) is None
    with pytest.raises(ValueError, match="cannot read .*latin: it must be a UTF-8 text file"):
        Recordings.from_files(str(source), str(tmp_path / "latin"), None)
    (tmp_path / "target").write_text("Köln\n" * 3, encoding="utf-8")
    theirs = SpeechToTextDataloader.from_files(source, tmp_path / "target", None)
    assert theirs.get_target(0) == "KÃ¶ln"  # the control


def test_a_list_with_what_is_no_recording_is_refused_before_the_first(source, tmp_path):
    check_recordings(str(source))
    soundfile.write(tmp_path / "stereo.flac", SAMPLES[:100], 16000)
    with pytest.raises(
        ValueError, match="line 2 of .*list: .*stereo.flac: shorter than one window of 25 ms; take it out"
    ):
        check_recordings(str(source))
    soundfile.write(tmp_path / "mono.wav", SAMPLES * np.nan, 16000, subtype="FLOAT")
    with pytest.raises(ValueError, match="line 1 of .*mono.wav: the samples go from nan"):
        check_recordings(str(source))
