"""The wavs that SimulEval reads: the sentences of a split one by one, or its talks whole. 16 kHz, mono, 16-bit."""

import itertools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple, Union

import numpy as np
import soundfile

from leap_fairseq.speech import SAMPLE_RATE, AudioError, load_segments
from leap_fairseq.speech.corpus import Segment, by_file
from leap_fairseq.speech.features import FRAME_LENGTH_MS, INT16_SCALE

logger = logging.getLogger(__name__)

MIN_SAMPLES = int(FRAME_LENGTH_MS * SAMPLE_RATE / 1000)
"""Less than one feature window is no audio, for the data preparation neither: both keep the same sentences."""


@dataclass(frozen=True)
class Talk:
    """A recording and what is said in it.

    Attributes:
        wav: Name of the file.
        sentences: Its segments by offset, and the duration of each in seconds, cut at the end of the file.
    """

    wav: str
    sentences: List[Tuple[Segment, float]]


def write_sentences(segments: List[Segment], folder: Path, limit: Optional[int]) -> List[Segment]:
    """Writes the wavs of the first `limit` sentences that have audio; returns these sentences."""
    kept: List[Segment] = []
    segments = _without_faults(segments)
    # The sentences of a talk follow each other in the text files: each talk is opened once.
    for audio, group in itertools.groupby(segments, lambda segment: segment.audio):
        talk = list(group)
        times = [(segment.offset, segment.duration) for segment in talk]
        for segment, samples in zip(talk, load_segments(audio, times, cut_at_end=True)):
            if isinstance(samples, AudioError) or len(samples) < MIN_SAMPLES:
                _leave_out(segment.id, samples if isinstance(samples, AudioError) else None)
                continue
            _write(folder / f"{segment.id}.wav", samples)
            kept.append(segment)
            if len(kept) == limit:
                return kept
    return kept


def write_talks(segments: List[Segment], folder: Path, limit: Optional[int]) -> List[Talk]:
    """Writes the wavs of the first `limit` talks that have audio, each whole; returns these talks."""
    talks: List[Talk] = []
    segments = _without_faults(segments)
    for audio, indices in by_file(segments):
        samples = next(iter(load_segments(audio, [(0.0, None)])))
        if isinstance(samples, AudioError):
            _leave_out(audio.stem, samples)
            continue
        sentences = _sentences([segments[index] for index in indices], len(samples))
        if not sentences:
            continue
        wav = f"{audio.stem}.wav"  # once in a split: the reader refuses others of the same stem
        _write(folder / wav, samples)
        talks.append(Talk(wav, sentences))
        if len(talks) == limit:
            break
    return talks


def _sentences(segments: List[Segment], samples: int) -> List[Tuple[Segment, float]]:
    """The segments that have audio in a talk of so many samples, with their durations in seconds."""
    kept = []
    for segment in segments:
        rest = samples / SAMPLE_RATE - segment.offset
        duration = rest if segment.duration is None else min(segment.duration, rest)
        if not (segment.offset >= 0 and round(duration * SAMPLE_RATE, 3) >= MIN_SAMPLES):  # nan is left out, too
            _leave_out(segment.id, None)
            continue
        kept.append((segment, duration))
    return kept


def _without_faults(segments: List[Segment]) -> List[Segment]:
    for segment in segments:
        if segment.fault:
            _leave_out(segment.id, segment.fault)
    return [segment for segment in segments if not segment.fault]


def _leave_out(name: str, reason: Union[AudioError, str, None]) -> None:
    logger.warning("left out %s: %s", name, reason or "shorter than one window of 25 ms")


def _write(path: Path, samples: np.ndarray) -> None:
    integers = np.clip(np.rint(samples * INT16_SCALE), -32768, 32767).astype(np.int16)
    soundfile.write(path, integers, SAMPLE_RATE, subtype="PCM_16")
