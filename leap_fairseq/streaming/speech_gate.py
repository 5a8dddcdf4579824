"""The speech gate: it holds the words of a sentence until its speech is heard, and knows what was left untranslated.

It changes no word: a token is written from the frames that the policy asks for, however late. Only of long silence
before the speech, no more is part of the sentence than a moment. Long is what single sentences do not have; in long
form, whose later sentences begin a moment before their speech, so does the first.

Shape legend: T feature frames, M mel bins.
"""

from typing import List, Optional

import numpy as np

from leap_fairseq.speech.features import FRAME_SHIFT_MS
from leap_fairseq.speech.voice_activity import SHORTEST, SpeechDetector
from leap_fairseq.streaming.frames import FEATURES_PER_FRAME, FRAME_MS
from leap_fairseq.streaming.sentence import BEFORE, Sentence

LONGEST_SILENCE = 25
"""Encoder frames, 1 s: what recordings of single sentences have before the speech, and more."""

UNTRANSLATED_MS = 3000.0
"""So much speech left untranslated is worth a warning; on the demo's test set it is 0.16 s at most, by wait-1."""

SILENT_MS = 1000.0
"""So much sound without any speech is worth one, too."""


class SpeechGate:
    """Listens to a stream.

    Args:
        holds: words back; otherwise it only listens.
        long_form: the stream holds any number of sentences.

    Attributes:
        silent: whether no speech has been heard.
        untranslated_ms: speech behind what a complete translation was written from, ms; 0 before it is complete.
    """

    def __init__(self, holds: bool, long_form: bool = False):
        self.holds, self.silent, self.untranslated_ms = holds, True, 0.0
        self._longest_silence = BEFORE if long_form else LONGEST_SILENCE
        self._detector = SpeechDetector()
        self._speech: List[int] = []
        self._standing_out: List[int] = []
        self._shortened: Optional[Sentence] = None
        self._complete = False

    def hear(self, features: np.ndarray) -> None:
        """Hears on: features [T, M], not normalised."""
        speech, standing_out = self._detector.push(features)
        self.silent = self.silent and not speech
        if self._complete:
            self.untranslated_ms += len(standing_out) * FRAME_SHIFT_MS
        else:
            self._speech += speech
            self._standing_out += standing_out

    def is_open(self, sentence: Sentence) -> bool:
        """Whether words of the sentence may be written; long silence before its speech is left out of it."""
        if sentence.source.frames:
            return True
        self.forget(sentence.first_frame)
        if not self.holds:
            return True
        onset = next(iter(self._speech), None)
        # The last frames may be those with which speech begins.
        silent_until = self._detector.frames + 1 - SHORTEST if onset is None else onset
        silence = silent_until // FEATURES_PER_FRAME - sentence.first_frame
        if silence > (BEFORE if sentence is self._shortened else self._longest_silence):
            sentence.leave_out(silence - BEFORE)
            self._shortened = sentence
        return onset is not None

    def forget(self, frames: int) -> None:
        """Forgets the speech of the first encoder frames of the stream."""
        first = frames * FEATURES_PER_FRAME
        self._speech = [frame for frame in self._speech if frame >= first]
        self._standing_out = [frame for frame in self._standing_out if frame >= first]

    def complete(self, frames: int) -> None:
        """Takes note that the translation is complete, and was written from so many encoder frames of the stream."""
        self.forget(frames)
        self.untranslated_ms = len(self._standing_out) * FRAME_SHIFT_MS
        self._speech, self._standing_out, self._complete = [], [], True

    def notice(self, frames: int, received_ms: float) -> Optional[str]:
        """What of the sound was not translated, and what to do about it; None where that is little.

        Args:
            frames: encoder frames of the stream that the decoder has seen.
            received_ms: sound that was received, ms.
        """
        seconds = f"{received_ms / 1000:.2f} s"
        if self.untranslated_ms >= UNTRANSLATED_MS:
            return (
                f"at least {self.untranslated_ms / 1000:.1f} s of speech were not translated: the sentence ended at "
                f"{frames * FRAME_MS / 1000:.2f} s of {seconds}. Speech of several sentences needs --long-form, and a "
                "model that was trained for it (--join-segments)"
            )
        if self.holds and self.silent and received_ms >= SILENT_MS:
            return f"no speech in {seconds} of sound, nothing is written: --no-speech-gate translates it nevertheless"
        return None
