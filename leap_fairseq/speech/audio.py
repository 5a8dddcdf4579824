"""Audio files and streams as mono float32 samples at one rate.

What a file holds and what a microphone delivers take the same way: the mean over the channels first, then another
rate where it differs. A whole signal and the same signal in pieces give the same samples.

Shapes: N samples, M samples after resampling.
"""

import logging
from typing import BinaryIO, Iterable, Iterator, Optional, Tuple, Union

import numpy as np

from leap_fairseq.speech.resampling import PolyphaseResampler
from leap_fairseq.speech.sound_file import AudioError, Sound, check_channels, check_rate, check_samples, open_sound

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16000
"""Hz; the rate of the features and of everything behind them."""

LONGEST = 7 * 24 * 3600
"""Seconds; a list with a larger number is damaged."""

READ_AT_ONCE = 2**20
"""Samples; a header may promise more than the memory holds."""


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Mean over the channels.

    Args:
        samples: [N] or [N, channels], floats in [-1, 1].

    Returns:
        float32 [N]; the same numbers when there is one channel.

    Raises:
        AudioError: Integer samples, nan or others that are not in [-1, 1] (see `sound_file.check_samples`), no
            channel, or more than two dimensions.
    """
    samples = np.asarray(samples)
    if samples.size and not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(f"samples are {samples.dtype}, but must be floats in [-1, 1]: divide 16-bit integers by 32768")
    check_samples(samples)
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or samples.shape[1] == 0:
        raise AudioError(f"samples have shape {samples.shape}, but must be [N] or [N, channels]: transpose them")
    # Channel after channel: numpy's own mean may sum in another order for another N.
    total = samples[:, 0].copy()
    for channel in range(1, samples.shape[1]):
        total += samples[:, channel]
    return total / np.float32(samples.shape[1])


class OnlineResampler:
    """Brings a stream of samples to one rate, however it is cut.

    Equal rates pass the samples through unchanged. The output is the same, bit for bit, for every split of the input;
    until `last` it lags 4.75 ms at most behind inputs of 8 kHz or more (see `resampling`).

    Args:
        source_rate: Hz of the incoming samples.
        target_rate: Hz of the outgoing samples.

    Raises:
        AudioError: A rate that no recording has (see `sound_file.check_rate`).
    """

    def __init__(self, source_rate: int, target_rate: int = SAMPLE_RATE):
        for name, rate in (("source_rate", source_rate), ("target_rate", target_rate)):
            check_rate(rate, name)
        self.source_rate = source_rate
        self.target_rate = target_rate
        self._finished = False
        self._stream = None
        if source_rate != target_rate:
            self._stream = PolyphaseResampler(round(source_rate), round(target_rate))

    def push(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Takes the next samples and returns those that became final.

        Args:
            samples: [N] or [N, channels], floats in [-1, 1]; N = 0 is allowed.
            last: True with the end of the stream; returns what the filter still holds.

        Returns:
            float32 [M], mono, at the target rate.

        Raises:
            AudioError: A push after the last one, or samples of a wrong kind (see `to_mono`).
        """
        if self._finished:
            raise AudioError("the stream has ended (push with last=True): make a new OnlineResampler for the next one")
        mono = to_mono(samples)
        self._finished = last
        if self._stream is None:
            return mono
        return self._stream.push(mono, last=last)


def load_audio(path: str, offset: float = 0.0, duration: Optional[float] = None) -> np.ndarray:
    """Reads a file, or only a part of it: float32 [N] in [-1, 1], mono, 16 kHz.

    Args:
        path: A wav, flac, mp3 or ogg file; any rate, any number of channels.
        offset: Seconds from the beginning of the file, at least 0.
        duration: Seconds, at least 0; None reads to the end.

    Raises:
        AudioError: The file is missing, empty or unreadable, or the part lies outside of it.
    """
    result = next(iter(load_segments(path, [(offset, duration)])))
    if isinstance(result, AudioError):
        raise result
    return result


def load_segments(
    path: str, segments: Iterable[Tuple[float, Optional[float]]], cut_at_end: bool = False
) -> Iterator[Union[np.ndarray, AudioError]]:
    """Reads several parts of one file, which is opened once.

    Each part is cut at the file's own rate and resampled alone, as if it were a file of its own.

    Args:
        path: A wav, flac, mp3 or ogg file.
        segments: (offset, duration) in seconds, best in the order of the offsets.
        cut_at_end: A part that begins inside the file and ends behind it is cut short instead of refused.

    Yields:
        For every part its samples, float32 [N] in [-1, 1] at 16 kHz, or the AudioError that says why there are none:
        one bad part does not spoil the others.
    """
    segments = iter(segments)
    try:
        with open_sound(path) as sound:
            for offset, duration in segments:
                try:
                    samples = _cut(sound, str(path), offset, duration, cut_at_end)
                    yield OnlineResampler(sound.samplerate).push(samples, last=True)
                except AudioError as error:
                    yield error
    except AudioError as error:
        failure = error
        yield from (failure for _ in segments)


def stream_file(path: str, segment_ms: int) -> Iterator[Tuple[np.ndarray, int]]:
    """Reads a file segment by segment, as if it were being recorded.

    Args:
        path: A wav, flac, mp3 or ogg file.
        segment_ms: Length of a segment, ms, above 0; the last one may be shorter.

    Yields:
        Samples, float32 [N, channels] in [-1, 1], and their rate in Hz.

    Raises:
        AudioError: The file is missing, unreadable or damaged, or the segment is not above 0.
    """
    _check_segment(segment_ms)
    with open_sound(path) as sound:
        size = max(1, sound.samplerate * segment_ms // 1000)
        for samples in _read(sound, str(path), sound.frames, size):
            yield samples, sound.samplerate


def stream_pcm(
    file: BinaryIO, segment_ms: int, sample_rate: int = SAMPLE_RATE, channels: int = 1
) -> Iterator[Tuple[np.ndarray, int]]:
    """Reads raw PCM as it arrives: signed 16-bit little-endian integers, channels interleaved.

    Args:
        file: For example standard input; it is read to its end.
        segment_ms: Length of a segment, ms, above 0; the last one may be shorter.
        sample_rate: Hz.
        channels: How many are interleaved.

    Yields:
        Samples, float32 [N, channels] in [-1, 1], and the rate in Hz.

    Raises:
        AudioError: The segment is not above 0, or no recording has this rate or so many channels.
    """
    _check_segment(segment_ms)
    check_rate(sample_rate, "the PCM (--rate)")
    check_channels(channels, "the PCM (--channels)")
    size = max(1, sample_rate * segment_ms // 1000) * channels * 2
    while True:
        data = _read_fully(file, size)
        rest = len(data) % (2 * channels)
        if rest:
            logger.warning(
                "the PCM ends inside of a sample, %d bytes of %d, which are left out: it must be signed 16-bit "
                "little-endian, with the number of channels given (--channels)",
                *(rest, 2 * channels),
            )
        if len(data) > rest:
            whole = np.frombuffer(data[: len(data) - rest], "<i2")
            yield whole.reshape(-1, channels).astype(np.float32) / 32768, sample_rate
        if len(data) < size:
            return


def _read_fully(file: BinaryIO, size: int) -> bytes:
    """So many bytes, or what is left: an unbuffered pipe gives what has arrived, and nothing only at its end."""
    data = file.read(size)
    while 0 < len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def _check_segment(segment_ms: int) -> None:
    if not segment_ms > 0:
        raise AudioError(f"a segment is {segment_ms} ms, but must be above 0 (--segment-ms)")


def _cut(sound: Sound, path: str, offset: float, duration: Optional[float], cut_at_end: bool) -> np.ndarray:
    """The wanted samples, float32 [N, channels], at the file's own rate."""
    for name, value in (("offset", offset), ("duration", duration)):
        if value is not None and not 0 <= value <= LONGEST:
            rule = f"but must be 0 to {LONGEST} s, a week: correct the segment list"
            raise AudioError(f"{path}: {name} is {value} s, {rule}")
    rate, total = sound.samplerate, sound.frames
    start = round(offset * rate)
    stop = total if duration is None else start + round(duration * rate)
    begins_outside = start > total or (start == total and stop > total)
    # The two roundings may add up to one sample.
    if begins_outside or (stop > total + 1 and not cut_at_end):
        raise AudioError(
            f"{path}: segment from {offset} s to {stop / rate:.6f} s lies outside of the file, which ends at"
            f" {total / rate:.6f} s: correct the segment list or replace the file"
        )
    try:
        sound.seek(start)
    except RuntimeError as error:
        raise _damaged(path, offset, error) from error
    pieces = list(_read(sound, path, min(stop, total) - start, READ_AT_ONCE, offset))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [np.zeros((0, sound.channels), np.float32)])


def _read(sound: Sound, path: str, wanted: int, size: int, offset: float = 0.0) -> Iterator[np.ndarray]:
    """The next samples in pieces, float32 [N, channels].

    Raises:
        AudioError: The file is damaged or ends before them, or they are no recording.
    """
    done = 0
    while done < wanted:
        asked = min(size, wanted - done)
        try:
            samples = sound.read(asked, dtype="float32", always_2d=True)
        except RuntimeError as error:  # soundfile's errors are RuntimeErrors
            raise _damaged(path, offset + done / sound.samplerate, error) from error
        check_samples(samples, f"{path}: the samples")
        done += len(samples)
        yield samples
        if len(samples) < asked:
            found = f"only {done} of {wanted} samples at {offset} s"
            raise AudioError(f"{path}: {found}, the file is cut short: replace it")


def _damaged(path: str, place: float, error: Exception) -> AudioError:
    return AudioError(f"{path}: reading failed at {place:.2f} s, the file is damaged: replace it ({error})")
