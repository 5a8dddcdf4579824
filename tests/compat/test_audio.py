"""fairseq reads audio without torchaudio, and computes the features of data preparation."""

import sys
from importlib.metadata import version

import numpy as np
import pytest
import torch
from fairseq.data.audio import audio_utils
from fairseq.models.speech_to_text import hub_interface

from leap_fairseq import compat
from leap_fairseq.compat import audio
from leap_fairseq.compat.replacing import original

compat.apply()


def wave(tmp_path, rate=16000, channels=1, suffix=".wav"):
    soundfile = pytest.importorskip("soundfile")
    time = np.arange(rate) / rate
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    samples = tone if channels == 1 else np.stack([tone, np.zeros_like(tone)], axis=1)
    path = tmp_path / f"tone{suffix}"
    soundfile.write(path, samples, rate)
    return str(path), tone


def test_reading_audio_does_not_need_torchaudio(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    path, tone = wave(tmp_path)
    with pytest.raises(ImportError, match="torchaudio"):
        original(audio_utils.convert_waveform)(np.zeros((1, 9), np.float32), 16000)
    samples, rate = audio_utils.get_waveform(path)
    assert rate == 16000 and samples.shape == (1, 16000)
    np.testing.assert_allclose(samples[0], tone, atol=1e-4)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_features_are_those_of_data_preparation(tmp_path, suffix):
    from leap_fairseq.speech.features import fbank

    path, _ = wave(tmp_path, suffix=suffix)
    samples, rate = audio_utils.get_waveform(path)
    features = audio_utils.get_features_or_waveform(path)
    assert features.shape == (98, 80) and features.dtype == np.float32
    np.testing.assert_array_equal(features, fbank(samples[0], rate, num_mel_bins=80))


@pytest.mark.parametrize("rate,channels", [(48000, 1), (22050, 2), (8000, 2), (16000, 2)])
def test_rate_and_channels(tmp_path, rate, channels):
    path, _ = wave(tmp_path, rate, channels)
    samples, new_rate = audio_utils.get_waveform(path, output_sample_rate=16000)
    assert new_rate == 16000 and samples.shape == (1, 16000) and samples.dtype == np.float32
    expected = 0.5 / channels * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(samples[0, 200:-200], expected[200:-200], atol=2e-3)


def test_volume_type_and_identity():
    wave = np.array([[0.1, -0.25, 0.0]], np.float32)
    assert audio_utils.convert_waveform(wave, 16000)[0] is wave
    loud, _ = audio_utils.convert_waveform(torch.from_numpy(wave), 16000, normalize_volume=True)
    assert isinstance(loud, torch.Tensor) and loud.abs().max() == 1
    silent, _ = audio_utils.convert_waveform(wave * 0, 16000, normalize_volume=True)
    assert not silent.any()
    with pytest.raises(ValueError, match="channels x samples"):
        audio_utils.convert_waveform(wave[0], 16000)


@pytest.fixture
def torchaudio(tmp_path, monkeypatch):
    """A function: puts a torchaudio of a version into the path of modules, with or without effects."""

    def install(version, effects=True):
        package = tmp_path / "torchaudio"
        (package / "sox_effects" if effects else package).mkdir(parents=True)
        (package / "__init__.py").write_text("raise OSError('it was imported')")
        metadata = tmp_path / f"torchaudio-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torchaudio\nVersion: {version}\n")

    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    # The library that torchaudio loads for its effects: any that is there will do, and one that is not.
    monkeypatch.setattr(audio, "LIBSOX", None)
    for name in ("convert_waveform", "_get_torchaudio_fbank"):
        monkeypatch.setattr(audio_utils, name, original(getattr(audio_utils, name)))
    monkeypatch.setattr(hub_interface, "convert_wav", original(hub_interface.convert_wav))
    return install


def replaced():
    compat.repair_audio_reading()
    functions = (audio_utils.convert_waveform, audio_utils._get_torchaudio_fbank, hub_interface.convert_wav)
    return [original(function) is not function for function in functions]


def test_a_torchaudio_that_was_built_for_this_torch_is_left_alone(torchaudio):
    torchaudio(version("torch"))
    assert replaced() == [False] * 3


@pytest.mark.parametrize("case", ["without effects", "of another torch", "without libsox"])
def test_a_torchaudio_that_cannot_convert_is_replaced(torchaudio, monkeypatch, case):
    torchaudio("2.5.1" if case == "of another torch" else version("torch"), effects=case != "without effects")
    if case == "without libsox":
        monkeypatch.setattr(audio, "LIBSOX", "libsox-that-is-not-there.so")
    assert replaced() == [True] * 3


def test_no_torchaudio_is_replaced(monkeypatch, torchaudio):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    assert replaced() == [True] * 3
