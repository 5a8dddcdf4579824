"""The command that translates a file or a pipe: the words of the translator, in lines."""

import io
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from exported_model import RATIO, write_model
from random_translator import HYBRID

from leap_fairseq.cli import main
from leap_fairseq.cli.translate import Lines, load
from leap_fairseq.models import load_translator
from leap_fairseq.speech import stream_file
from leap_fairseq.streaming import Word


@pytest.fixture
def lines(capsys):
    """A function: translates; returns the lines that it writes."""

    def run(*words):
        assert main(["translate", *map(str, words)]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def test_the_words_are_those_of_the_translator(lines, model, wav):
    for k in (1, 9):
        translator, words = load_translator(model, waitk_lagging=k, unit="char"), []
        for samples, rate in stream_file(wav, 160):
            words += translator.push(samples, rate)
        words += translator.finish()
        found = lines(wav, "--model", model, "--waitk-lagging", k, "--unit", "char")
        assert found == [f"{word.delay / 1000:8.2f}  {word.text}" for word in words] and found


def test_softmax_cross_attention_goes_through_export(lines, wav, tmp_path):
    changes = {**HYBRID, "encoder_visibility": "segment", "encoder_segment": RATIO}
    trained, options = write_model(tmp_path / "trained", **changes), ("--waitk-lagging", 1, "--unit", "char")
    words = lines(wav, "--model", trained, *options)
    out = tmp_path / "exported"
    assert main(["export", str(trained / "checkpoint.pt"), str(out), "--data-bin", str(trained)]) == 0
    shutil.rmtree(trained)
    model = load_translator(out).model
    assert model.streams_merge and not model.decoder.layers[0].encoder_attn.kind.linear
    assert lines(wav, "--model", out, *options)[-len(words) :] == words and len(words) > 3


def test_raw_sound_of_a_pipe(lines, model, wav, monkeypatch):
    pcm = soundfile.read(wav, dtype="int16")[0].astype("<i2").tobytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(pcm)))
    options = ("--model", model, "--unit", "char")
    assert lines("-", *options, "--rate", 8000, "--channels", 2) == lines(wav, *options)


class Microphone(io.BytesIO):
    """Ctrl-C reaches all programs of a pipe, and ends the one that records."""

    def __init__(self, pcm, presses):
        super().__init__(pcm)
        self.presses = presses

    def read(self, size):
        for _ in range(self.presses):
            signal.raise_signal(signal.SIGINT)
        self.presses = 0
        return super().read(size)


def test_ctrl_c_ends_the_speech_of_a_pipe_and_again_the_command(lines, model, wav, monkeypatch):
    pcm = soundfile.read(wav, dtype="int16")[0].astype("<i2").tobytes()
    words = ["-", "--model", str(model), "--unit", "char", "--rate", "8000", "--channels", "2"]
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=Microphone(pcm, 1)))
    assert lines(*words) == lines(wav, "--model", model, "--unit", "char")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=Microphone(pcm, 2)))
    assert main(["translate", *words]) == 130 and signal.getsignal(signal.SIGINT) == handler


def test_what_is_not_translated_is_said(lines, model, tmp_path, monkeypatch, caplog):
    silence, speech = tmp_path / "silence.wav", tmp_path / "speech.wav"
    soundfile.write(silence, np.zeros(32000), 16000)
    soundfile.write(speech, np.random.default_rng(0).standard_normal(96000) * 0.1, 16000)
    options = ("--model", model, "--waitk-lagging", 1)
    assert lines(silence, *options) == []
    assert "no speech in 2.00 s of sound, nothing is written: --no-speech-gate translates" in caplog.text
    caplog.clear()
    assert lines(silence, *options, "--no-speech-gate") and "no speech" not in caplog.text

    def load_short(options):
        translator = load(options)
        translator.max_len_b = 2
        return translator

    monkeypatch.setattr("leap_fairseq.cli.translate.load", load_short)
    lines(speech, *options)
    said = [record for record in caplog.records if "s of speech were not translated" in record.message]
    assert len(said) == 1 and said[0].levelname == "WARNING" and "--long-form" in said[0].message


def test_a_sentence_a_line(capsys):
    lines = Lines(by_sentence=True)
    lines.write([Word("Guten", 840.0, 0), Word("Tag.", 1000.0, 0)])
    lines.write([Word("Danke.", 2040.0, 1)])
    lines.end()
    assert capsys.readouterr().out == "    0.84  Guten Tag.\n    2.04  Danke.\n"


@pytest.mark.parametrize(
    "words, message",
    [
        (["WAV", "--model", "gone"], "no checkpoint at gone"),
        (["gone.wav", "--model", "MODEL"], "cannot read audio file gone.wav"),
        (["WAV", "--model", "MODEL", "--segment-ms", "0"], "a segment is 0 ms, but must be above 0 (--segment-ms)"),
        (["WAV", "--model", "MODEL", "--long-form"], "the long form needs an encoder whose frames are final"),
    ],
)
def test_errors_are_one_line(capsys, model, wav, words, message):
    assert main(["translate", *({"WAV": str(wav), "MODEL": str(model)}.get(word, word) for word in words)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
