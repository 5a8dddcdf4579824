"""One sentence while it is being translated: what was heard, what was written, and the state of the decoder.

Shape legend: S encoder frames, C model dimension, B candidates, T tokens.
"""

import logging
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from leap_fairseq.speech import NEXT_SENTENCE
from leap_fairseq.speech.pauses import SHORTEST, find_pauses, loudness, quiet_below
from leap_fairseq.streaming.frames import FEATURES_MISSING, FEATURES_PER_FRAME
from leap_fairseq.streaming.policy import Candidate

logger = logging.getLogger(__name__)

CANDIDATES = 64
"""Pauses that are considered as the end of a sentence, at most."""

BEFORE = 1
"""Encoder frames of silence that are left before a sentence."""

PATIENCE = 75
"""Encoder frames of speech without a pause, behind what was read, after which the sentence ends where it was read."""

STEP = SHORTEST // FEATURES_PER_FRAME
"""Encoder frames after which it is looked for a pause again; it divides the patience."""

EVEN = 30
"""Feature frames of a pause, 300 ms, whose length says neither that it ends a sentence nor that it does not; the odds
grow with the length. A decoder that has read on into the next sentence makes as much of it with that speech as without,
and a pause may be within a sentence."""

BATCH = 16


class Sentence:
    """A hypothesis and the speech it is written from.

    Args:
        model: a simultaneous translator, in evaluation mode.
        dictionary: of the target.
        first_frame: where in the stream the sentence begins, in encoder frames.
        stops: indices of the tokens that end it.
        keep: keep the speech, for :meth:`end_of_speech`.

    Attributes:
        source: the speech.
        memory: the state of the decoder.
        tokens: written so far, without the one that ends the sentence.
        seen: encoder frames that each token was written from, that one included.
        ended: whether that one was written.
        draft: tokens behind these that were computed and are not written yet.
        refused: tokens that were drafted behind these from fewer frames, and not written.
        needed: encoder frames that must have been read before more is drafted.
        silence: loudness below which there is none to translate yet; None once its speech has begun.
    """

    silence: Optional[float] = None

    def __init__(self, model: Any, dictionary: Any, first_frame: int, stops: List[int], keep: bool = False):
        self.model, self.dictionary, self.first_frame, self.stops = model, dictionary, first_frame, stops
        self.source = model.new_source(keep)
        self.tokens: List[int] = []
        self.seen: List[int] = []
        self.ended = False
        self._end: Optional[int] = None
        self._looked_at = 0
        self.memory: Dict[str, Any] = {}
        self.draft: List[Candidate] = []
        self.refused: Sequence[int] = ()
        self.needed = 0
        self._before: List[Dict[str, Any]] = []

    @property
    def frames(self) -> int:
        """Encoder frames that have been read."""
        return self.source.frames

    def last_token(self) -> int:
        """The token that the decoder reads next."""
        computed = [*self.tokens[-1:], *(candidate.token for candidate in self.draft)]
        return computed[-1] if computed else self.dictionary.eos()

    def remember(self) -> None:
        """Keeps the state of the decoder before the next token of a draft, which may be refused."""
        self._before.append(self.model.decoder.copy_state(self.memory))

    def choose(self, scores: Tensor, max_len: int, draft: bool = False, newest: Optional[float] = None) -> Candidate:
        """The next token, greedily, as fairseq's generator would with beam 1.

        Args:
            scores: logits or log-probabilities, [vocabulary].
            max_len: tokens of a sentence, at most.
            draft: whether the policy decides on it, for which its probability is computed.
            newest: share of the newest frames in its cross-attention, if it is known.
        """
        allowed, length = scores.float(), len(self.tokens) + len(self.draft)
        allowed[self.dictionary.pad()] = -torch.inf
        if not length:
            allowed[self.stops] = -torch.inf
        token = int(allowed.argmax())
        probability = float(allowed.softmax(0)[token]) if draft else None
        if length >= max_len and token not in self.stops:
            logger.warning("hypothesis cut at its maximum of %d tokens (--max-len-a, --max-len-b)", length)
            token = self.dictionary.eos()
        return Candidate(token, probability, newest)

    def stops_at(self, candidate: Candidate) -> bool:
        """Whether this token ends the sentence."""
        return candidate.token in self.stops

    def write(self, accepted: int, decision_frames: int) -> List[Candidate]:
        """Writes the first tokens of the draft; the state of the decoder is that behind them.

        Args:
            accepted: how many.
            decision_frames: that must be read before more is drafted, if some are refused.

        Returns:
            These tokens.
        """
        written, refused = self.draft[:accepted], self.draft[accepted:]
        self.refused = tuple(candidate.token for candidate in refused)
        if refused:
            self.memory, self.needed = self._before[accepted], self.frames + decision_frames
        self.draft, self._before = [], []
        for candidate in written:
            self.seen.append(self.frames)
            self.ended = self.stops_at(candidate)
            if not self.ended:
                self.tokens.append(candidate.token)
        return written

    def following(self, length: int) -> "Sentence":
        """The sentence behind this one, in the silence before its speech.

        Args:
            length: of this one, in encoder frames.
        """
        heard = self.source.from_frame(0)
        sentence = Sentence(self.model, self.dictionary, self.first_frame + length, self.stops, keep=True)
        sentence.source.push(heard[length * FEATURES_PER_FRAME :])
        # Up to the pause: all that was heard depends on how the stream was cut.
        sentence.silence = quiet_below(heard[: length * FEATURES_PER_FRAME + SHORTEST - FEATURES_PER_FRAME])
        return sentence

    def has_begun(self) -> bool:
        """Whether its speech has; silence is forgotten, but for the last moment before."""
        if self.silence is None or not self.source.heard:
            return self.silence is None
        loud = np.flatnonzero(loudness(self.source.from_frame(0)) >= self.silence)
        begins = loud[0] if len(loud) else self.source.heard
        self.leave_out(max(0, begins // FEATURES_PER_FRAME - BEFORE))
        if len(loud):
            self.silence = None
        return self.silence is None

    def leave_out(self, frames: int) -> None:
        """Forgets its first frames, none of which the decoder has seen: it begins behind them."""
        self.source.drop(frames)
        self.first_frame += frames

    def end_of_speech(self, source_ended: bool) -> Optional[int]:
        """Where the speech of a sentence ended whose last token was written.

        The decoder may have read on into the next sentence, or not to the end of this one. Of the pauses that it has
        read, and the first one behind, or in which it stopped, it is that after which the model gives the most
        probability to what it has written, and to the end of the sentence, if the source ended there; a longer one is
        the likelier end. It is looked for at the same moments however the stream was cut.

        Args:
            source_ended: nothing more will be heard.

        Returns:
            Encoder frames from the beginning of the sentence; None while the pause is still to come.
        """
        read, heard = self.source.frames, self.source.from_frame(0)
        if self._end is None:
            passed = _pauses(heard, read)[-CANDIDATES:]
            self._end, self._looked_at = self._most_probable_end(passed, read), read
        if self._end < read:
            return self._end
        for until in range(self._looked_at, read + PATIENCE + 1, STEP):
            self._looked_at = until
            if len(heard) < _features(until):
                return -(-len(heard) // FEATURES_PER_FRAME) if source_ended else None
            # The first one behind is that in which the decoder stopped reading, if it did in one.
            behind = next((frame for frame, end in _pauses(heard, until) if end >= _features(read)), None)
            if behind is not None:
                return behind
        return read

    @torch.no_grad()
    def _most_probable_end(self, pauses: List[Tuple[int, int]], read: int) -> int:
        """The frame of one of the pauses, or that to which it was read."""
        if not pauses:
            return read
        frames = [*(frame for frame, _ in pauses), read]
        lengths = [*(end - frame * FEATURES_PER_FRAME for frame, end in pauses), EVEN]
        speech, ends = torch.cat(self.source.kept), torch.tensor(frames)
        scores = torch.cat([self._score(speech, some) for some in ends.split(BATCH)])
        return frames[int((scores + (scores.new_tensor(lengths) / EVEN).log()).argmax())]

    def _score(self, frames: Tensor, ends: Tensor) -> Tensor:
        """Log-probabilities [B] of the sentence for speech [S, 1, C] that ends at each of these frames [B]."""
        eos, device = self.dictionary.eos(), frames.device
        previous = torch.tensor([[eos, *self.tokens]], device=device).expand(len(ends), -1)
        target = torch.tensor([[*self.tokens, eos]], device=device).expand(len(ends), -1)
        padding = (torch.arange(len(frames)) >= ends.unsqueeze(1)).to(device)
        speech = {
            "encoder_out": [frames.expand(-1, len(ends), -1)],
            "encoder_padding_mask": [padding],
            "visible": [torch.tensor([*self.seen, self.source.frames][: len(self.tokens) + 1])],
        }
        scores = self.model.decoder(previous, encoder_out=speech)[0].float().log_softmax(-1)
        return scores.gather(-1, target.unsqueeze(-1)).sum((1, 2)).cpu()


def _features(frames: int) -> int:
    """Features that are there once so many encoder frames have been heard."""
    return frames * FEATURES_PER_FRAME - FEATURES_MISSING


def _pauses(heard: np.ndarray, until: int) -> List[Tuple[int, int]]:
    """Pauses behind the first sound, of features [T, M] of so many frames: the frame of each, the feature behind it."""
    return [(-(-first // FEATURES_PER_FRAME), end) for first, end in find_pauses(heard[: _features(until)]) if first]


def next_sentence_token(model: Any, dictionary: Any) -> int:
    """The token that ends a sentence where another one follows in the same speech, for streams without end.

    Args:
        model: a simultaneous translator.
        dictionary: of the target.

    Returns:
        Its index.

    Raises:
        ValueError: its encoder sees whole utterances, or it never saw the end of a sentence within a stretch of speech.
    """
    if not model.frames_are_final:
        raise ValueError(
            "the long form needs an encoder whose frames are final: train with --encoder-visibility segment"
        )
    if NEXT_SENTENCE not in dictionary:
        raise ValueError(
            f"the dictionary has no {NEXT_SENTENCE}: the model was trained on single sentences and cannot tell where "
            "one ends; prepare the data with --join-segments 4 and train on that"
        )
    return dictionary.index(NEXT_SENTENCE)
