"""Opens audio files, and refuses those whose header cannot be true.

An mp3 need not say how long it is. libsndfile then guesses from the first frames, and cuts off what lies behind its
guess; such a file is decoded to its end here instead, and behaves like any other.
"""

import contextlib
import os
import threading
from typing import Iterator, List, Union

import numpy as np
import soundfile

MIN_RATE, MAX_RATE = 4000, 192000
"""Hz; speech below it has no consonants left, no recorder goes above it. A header outside of it is damaged."""

ID3_HEADER = 10
"""Bytes. Source: id3.org, ID3v2.4 structure, 3.1; the size that follows has seven bits a byte."""

LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")
TAG_WITHIN = 48
"""Bytes of the first frame: 4 of header, 2 of checksum and at most 32 of side information come before the tag."""

BLOCK = 2**16


class AudioError(ValueError):
    """An audio file, or a part of one, that cannot be used; the message names the file, the rule and the remedy."""


class DecodedSound:
    """A sound file that was decoded into memory, with what is used here of soundfile.SoundFile.

    Args:
        samples: float32 [N, channels] in [-1, 1].
        samplerate: Hz.
    """

    def __init__(self, samples: np.ndarray, samplerate: int):
        self.samplerate = samplerate
        self.frames = len(samples)
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

    def blocks(self, blocksize: int, **_: object) -> Iterator[np.ndarray]:
        """All samples in pieces, float32 [N, channels]."""
        return (self._samples[start : start + blocksize] for start in range(0, self.frames, blocksize))


Sound = Union[soundfile.SoundFile, DecodedSound]


@contextlib.contextmanager
def open_sound(path: str) -> Iterator[Sound]:
    """Opens an audio file.

    Args:
        path: A wav, flac, mp3 or ogg file.

    Yields:
        The file; `samplerate` is its rate in Hz, `frames` its true length.

    Raises:
        AudioError: The file is missing, empty or unreadable, or its header gives a rate that no recording has.
    """
    path = str(path)
    with contextlib.ExitStack() as stack:
        try:
            sound = stack.enter_context(soundfile.SoundFile(path))
            if sound.format == "MP3" and not _tells_length(path):
                sound = _decode(path)
        except (OSError, RuntimeError, TypeError) as error:  # soundfile's errors are RuntimeErrors
            rule = "it must be a whole wav, flac, mp3 or ogg file"
            raise AudioError(f"cannot read audio file {path}: {rule} ({error})") from error
        if not MIN_RATE <= sound.samplerate <= MAX_RATE:
            rule = f"but must be {MIN_RATE} to {MAX_RATE} Hz: the header is damaged, replace the file"
            raise AudioError(f"{path}: the sample rate in the header is {sound.samplerate} Hz, {rule}")
        yield sound


def _tells_length(path: str) -> bool:
    """Whether the first frame of an mp3 is a tag that holds the number of frames."""
    with open(path, "rb") as file:
        head = file.read(ID3_HEADER)
        size = 0
        if head.startswith(b"ID3"):
            for byte in head[6:]:
                size = size << 7 | byte & 0x7F
            size += ID3_HEADER
        file.seek(size)
        frame = file.read(TAG_WITHIN)
    return any(tag in frame for tag in LENGTH_TAGS)


def _decode(path: str) -> DecodedSound:
    """Decodes to the end of the file: from a pipe libsndfile cannot guess a length."""
    read_end, write_end = os.pipe()
    feeder = threading.Thread(target=_feed, args=(path, write_end), daemon=True)
    feeder.start()
    pieces: List[np.ndarray] = []
    try:
        with open(read_end, "rb") as pipe, soundfile.SoundFile(pipe.fileno(), closefd=False) as sound:
            while not pieces or len(pieces[-1]) == BLOCK:
                pieces.append(sound.read(BLOCK, dtype="float32", always_2d=True))
            return DecodedSound(np.concatenate(pieces), sound.samplerate)
    finally:
        feeder.join()


def _feed(path: str, write_end: int) -> None:
    # The reader may stop before the end: at a damaged frame, for example.
    with contextlib.suppress(BrokenPipeError), open(path, "rb") as source, open(write_end, "wb") as target:
        for block in iter(lambda: source.read(BLOCK), b""):
            target.write(block)
