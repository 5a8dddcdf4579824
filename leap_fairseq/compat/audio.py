"""Raw audio without torchaudio: conversion by soxr and numpy, features by this package's own filterbank.

Shape letters: N channels, L samples, T frames.
"""

import ctypes
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import Callable, Optional, Tuple, Union

import numpy as np
import torch
from fairseq.data.audio import audio_utils
from fairseq.models.speech_to_text import hub_interface

from leap_fairseq.compat.replacing import replace

LIBSOX = "libsox.dylib" if sys.platform == "darwin" else "libsox.so"
"""What torchaudio's sox_effects load when they are first used."""


def repair_audio_reading() -> None:
    """Replaces the two functions through which fairseq reaches torchaudio.

    `torchaudio.sox_effects` was removed in torchaudio 2.9, and a torchaudio that was built for another torch, such as
    the one that pip installs beside CPU torch, raises OSError on import: every manifest with wav, flac or ogg paths
    fails, even where nothing has to be converted. The features are those of data preparation and of streaming.
    """
    replace(
        [audio_utils, (hub_interface, "convert_wav")],
        "convert_waveform",
        lambda needs_torchaudio: convert_waveform,
        symptom=_lacks_sox_effects,
    )
    replace([audio_utils], "_get_torchaudio_fbank", _filterbank, symptom=_lacks_sox_effects)


def _lacks_sox_effects(needs_torchaudio: Callable) -> bool:
    # torchaudio is not imported: that takes seconds, and may raise an OSError.
    spec = importlib.util.find_spec("torchaudio")
    folders = (spec and spec.submodule_search_locations) or []
    if not any(Path(folder, "sox_effects").is_dir() for folder in folders):
        return True
    try:
        ctypes.CDLL(LIBSOX)
        return importlib.metadata.version("torchaudio") != importlib.metadata.version("torch")
    except (ImportError, OSError):
        return True


def convert_waveform(
    waveform: Union[np.ndarray, torch.Tensor],
    sample_rate: int,
    normalize_volume: bool = False,
    to_mono: bool = False,
    to_sample_rate: Optional[int] = None,
) -> Tuple[Union[np.ndarray, torch.Tensor], int]:
    """Changes volume, sample rate and number of channels, in this order, as far as asked.

    Args:
        waveform: [N, L] samples.
        sample_rate: of `waveform`, in Hz.
        normalize_volume: scale so that the largest magnitude is 1 (silence stays silence).
        to_mono: average the channels.
        to_sample_rate: wanted rate in Hz; None keeps the rate.

    Returns:
        The waveform [N or 1, L'], as numpy or torch like the input, and its sample rate in Hz. Where there is nothing
        to do it is the input itself.

    Raises:
        ValueError: `waveform` is not 2-dimensional.
    """
    if waveform.ndim != 2:
        raise ValueError(
            f"waveform has shape {tuple(waveform.shape)}, but must be channels x samples; index one channel as [None]"
        )
    samples = np.asarray(waveform, dtype=np.float32)
    if normalize_volume:
        peak = np.abs(samples).max(initial=0.0)
        samples = samples / peak if peak > 0 else samples
    if to_sample_rate is not None and to_sample_rate != sample_rate:
        samples, sample_rate = _resample(samples, sample_rate, to_sample_rate), to_sample_rate
    if to_mono and samples.shape[0] > 1:
        samples = samples.mean(axis=0, keepdims=True)
    if isinstance(waveform, torch.Tensor):
        return torch.from_numpy(np.ascontiguousarray(samples)), sample_rate
    return samples, sample_rate


def _resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    import soxr  # only users with audio at another rate need it

    return np.ascontiguousarray(soxr.resample(samples.T, from_rate, to_rate).T, dtype=np.float32)


def _filterbank(needs_torchaudio: Callable) -> Callable:
    def log_mel_filterbank(waveform: np.ndarray, sample_rate: int, n_bins: int = 80) -> np.ndarray:
        # Here, not at the top: only users with raw audio need it.
        from leap_fairseq.speech.features import INT16_SCALE, fbank

        # fairseq hands over samples at the scale of 16-bit integers.
        return fbank(np.asarray(waveform[0], dtype=np.float32) / INT16_SCALE, sample_rate, num_mel_bins=n_bins)

    return log_mel_filterbank
