"""Opens audio files: the one place that decides what is read of a bad one.

A file whose header does not know its length is read to where its sound ends, and a warning says so; it behaves like
any other. A file that breaks off is refused by name, since no text or time fits it, and so is what is no recording. An
mp3 need not say how long it is: libsndfile then guesses from the first frames, and cuts off what lies behind its guess,
so such a file is decoded to its end here.
"""

import contextlib
import logging
import os
import stat
import threading
from typing import Any, BinaryIO, Iterator, List, Optional, Tuple, Union

import numpy as np
import soundfile

from leap_fairseq.speech.sound_header import ToldLength, mp3_length, ogg_flaw, wav_length

logger = logging.getLogger(__name__)

MIN_RATE, MAX_RATE = 4000, 192000
"""Hz; speech below it has no consonants left, no recorder goes above it. A header outside of it is damaged."""

MAX_CHANNELS = 64

LOUDEST = 16.0
"""Recordings lie in [-1, 1]; where floats are kept unclipped or decoded from mp3 they go somewhat beyond. Above this
are integers that were not divided, and junk."""

FED_AT_ONCE = 2**16
"""Bytes."""

READ_AT_ONCE = 2**11
"""Samples; what is read in the same call as a damaged place is lost."""

UNKNOWN_FRAMES = 2**36
"""Samples; a FLAC header holds fewer, libsndfile says more where it holds none."""

MOST_DECODED = 2**29
"""Samples of all channels that are held in memory: 2 GiB, ten hours of 16 kHz."""


class AudioError(ValueError):
    """An audio file, or a part of one, that cannot be used; the message names the file, the rule and the remedy."""


def check_rate(rate: Any, what: str) -> None:
    """Refuses a sample rate that no recording has.

    Args:
        rate: Hz.
        what: For the message: whose it is.

    Raises:
        AudioError: It is no whole number from MIN_RATE to MAX_RATE.
    """
    if not isinstance(rate, (int, float, np.number)) or not MIN_RATE <= rate <= MAX_RATE or rate % 1:
        raise AudioError(f"{what} is {rate} Hz, but must be {MIN_RATE} to {MAX_RATE} Hz")


def check_channels(channels: int, what: str) -> None:
    """Refuses a number of channels that no recording has, with an AudioError; `what` says whose it is."""
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{what} has {channels} channels, but must have 1 to {MAX_CHANNELS}")


def check_samples(samples: np.ndarray, what: str = "the samples") -> None:
    """Refuses nan, inf and what is far louder than full scale, all of which a model would hear as something else.

    Args:
        samples: Floats of any shape.
        what: For the message: whose they are.

    Raises:
        AudioError: One of them is not within LOUDEST.
    """
    # nan is not below anything, and both maxima hand it on.
    low, high = samples.min(initial=0.0), samples.max(initial=0.0)
    if not (-LOUDEST <= low and high <= LOUDEST):
        rule = "but must be floats in [-1, 1]: divide 16-bit integers by 32768, or replace the recording"
        raise AudioError(f"{what} go from {low:g} to {high:g}, {rule}")


class DecodedSound:
    """A sound file that was decoded into memory, with what is used here of soundfile.SoundFile.

    Args:
        samples: float32 [N, channels] in [-1, 1].
        samplerate: Hz.
    """

    def __init__(self, samples: np.ndarray, samplerate: int):
        self.samplerate, self.frames, self.channels = samplerate, len(samples), samples.shape[1]
        self._samples = samples
        self._position = 0

    def seek(self, position: int) -> None:
        """Goes to a sample, counted from the beginning."""
        self._position = position

    def read(self, frames: int, **_: object) -> np.ndarray:
        """The next samples, float32 [N, channels] with N <= frames."""
        result = self._samples[self._position : self._position + frames]
        self._position += len(result)
        return result


class _Forward(soundfile.SoundFile):
    """Read from the beginning on: soundfile itself seeks after each read, which fails in a file that breaks off."""

    def seekable(self) -> bool:
        return False


class _Mended:
    """A file, some bytes of which are replaced; libsndfile reads it through these methods.

    Args:
        file: Open for reading.
        place: Of the bytes.
        right: What shall stand there.
    """

    def __init__(self, file: BinaryIO, place: int, right: bytes):
        self._file, self._place, self._right = file, place, right

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        start = self._file.tell()
        content = bytearray(self._file.read(size))
        for number, byte in enumerate(self._right, self._place - start):
            if 0 <= number < len(content):
                content[number] = byte
        return bytes(content)


Sound = Union[soundfile.SoundFile, DecodedSound]


@contextlib.contextmanager
def open_sound(path: str) -> Iterator[Sound]:
    """Opens an audio file.

    Args:
        path: A wav, flac, mp3 or ogg file.

    Yields:
        The file; `samplerate` is its rate in Hz, `frames` its true length.

    Raises:
        AudioError: It is missing, empty, unreadable or no file on a disk (a folder, a pipe, a device), or its header
            gives a rate or a number of channels that no recording has.
    """
    path = str(path)
    with contextlib.ExitStack() as stack:
        try:
            # Opening a pipe waits for somebody who writes, reading a device may never end.
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise OSError("it is a folder, a pipe or a device")
            sound = _told_truly(path, stack.enter_context(soundfile.SoundFile(path)), stack)
        except AudioError:
            raise
        except (OSError, RuntimeError, TypeError, ValueError) as error:  # soundfile's errors are RuntimeErrors
            rule = "it must be a whole wav, flac, mp3 or ogg file"
            raise AudioError(f"cannot read audio file {path}: {rule} ({error})") from error
        yield sound


def _told_truly(path: str, sound: soundfile.SoundFile, stack: contextlib.ExitStack) -> Sound:
    """The sound, or where its header is not true another way to read it; says so."""
    check_rate(sound.samplerate, f"{path}: the sample rate in the header")
    check_channels(sound.channels, f"{path}: the header")
    flaw = None
    if sound.format == "MP3":
        sound, flaw = _read_mp3(path, sound)
    elif sound.format == "FLAC" and not _has_end(sound):
        sound, flaw = _read_flac(path, sound.frames, stack)
    elif sound.format == "OGG":
        flaw = ogg_flaw(path)
    elif sound.format in ("WAV", "WAVEX"):
        told = _checked(path, wav_length(path))
        flaw = told and told.flaw
        if flaw and told.size < told.there:
            right = min(told.there, 2**32 - 1).to_bytes(4, "little")
            file = stack.enter_context(open(path, "rb"))
            sound = stack.enter_context(soundfile.SoundFile(_Mended(file, told.place, right)))
    if flaw or not sound.frames:
        read = f"read what is there, {sound.frames} samples ({sound.frames / sound.samplerate:.2f} s)"
        logger.warning("%s: %s: %s", path, flaw or "it has no samples", read)
    return sound


def _checked(path: str, told: Optional[ToldLength]) -> Optional[ToldLength]:
    if told and told.flaw and told.breaks_off:
        raise _breaks_off(path, told.flaw)
    return told


def _breaks_off(path: str, flaw: str) -> AudioError:
    return AudioError(f"{path}: {flaw}: the file is cut short, replace it")


def _has_end(sound: soundfile.SoundFile) -> bool:
    """Whether the last sample can be read; a FLAC file gives the same samples after that."""
    try:
        sound.seek(max(0, sound.frames - 1))
        found = len(sound.read(1)) == min(1, sound.frames)
        sound.seek(0)
        return found
    except RuntimeError:
        return False


def _read_flac(path: str, frames: int, stack: contextlib.ExitStack) -> Tuple[DecodedSound, str]:
    """What can be read of a file whose last sample cannot; only one that never knew its length is whole."""
    flaw = "its header says no number of samples"
    sound, broken = _read_all(stack.enter_context(_Forward(path)), path)
    if broken or 0 < frames < UNKNOWN_FRAMES:
        raise _breaks_off(path, f"its header says {frames} samples, but {sound.frames} can be read")
    return sound, flaw


def _read_mp3(path: str, sound: soundfile.SoundFile) -> Tuple[Sound, Optional[str]]:
    told = _checked(path, mp3_length(path))
    if told is not None and told.flaw is None:
        return sound, None
    decoded, broken = _decode(path)
    if broken:
        raise _breaks_off(path, broken)
    return decoded, told and told.flaw


def _decode(path: str) -> Tuple[DecodedSound, Optional[str]]:
    """Decodes an mp3 to the end of the file: from a pipe, and without a tag of length, libsndfile cannot guess one."""
    read_end, write_end = os.pipe()
    unread: List[OSError] = []
    feeder = threading.Thread(target=_feed, args=(path, write_end, unread), daemon=True)
    feeder.start()
    try:
        with open(read_end, "rb") as pipe, soundfile.SoundFile(pipe.fileno(), closefd=False) as sound:
            decoded = _read_all(sound, path)
    finally:
        feeder.join()
    if unread:
        raise unread[0]
    return decoded


def _read_all(sound: soundfile.SoundFile, path: str) -> Tuple[DecodedSound, Optional[str]]:
    """Reads to the end, or to where the sound breaks off; then the second value says so."""
    pieces: List[np.ndarray] = []
    room, flaw = MOST_DECODED // sound.channels, None
    try:
        while not pieces or len(pieces[-1]) == READ_AT_ONCE:
            pieces.append(sound.read(READ_AT_ONCE, dtype="float32", always_2d=True))
            room -= READ_AT_ONCE
            if room < 0:
                raise AudioError(f"{path} holds more than can be decoded at once: convert it to wav, and cut it")
    except RuntimeError as error:
        if not pieces:
            raise
        flaw = f"it cannot be decoded to its end ({error})"
    return DecodedSound(np.concatenate(pieces), sound.samplerate), flaw


def _feed(path: str, write_end: int, unread: List[OSError]) -> None:
    # The reader may stop before the end: at a damaged frame, for example.
    stopped = contextlib.suppress(BrokenPipeError)
    try:
        with stopped, open(write_end, "wb") as target, open(path, "rb") as file:
            told = mp3_length(path)
            source = file if told is None else _Mended(file, told.place, bytes(4))
            for block in iter(lambda: source.read(FED_AT_ONCE), b""):
                target.write(block)
    except OSError as error:
        # Of which the reader sees an end like any other.
        unread.append(error)
