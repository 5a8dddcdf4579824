"""One stream: what was heard of it, what its policy allows to be written, and the words that were.

The encoder sees exactly the features of the frames that the policy asks for, so that words do not depend on how the
stream was cut. In long form the stream is speech without a known segmentation: when the decoder ends a sentence, the
next one begins behind the pause where the speech of the last one ended, with an empty state: memory and time stay
constant. The calls of the model are made in :mod:`leap_fairseq.streaming.batching`.

Shape legend: N samples, T feature frames.
"""

import logging
from typing import Any, List, Optional

import numpy as np

from leap_fairseq.speech import NEXT_SENTENCE, SAMPLE_RATE, GlobalCmvn, OnlineFbank, OnlineResampler
from leap_fairseq.streaming.detokenizer import StreamingDetokenizer
from leap_fairseq.streaming.frames import FEATURES_MISSING, FEATURES_PER_FRAME, FRAME_MS
from leap_fairseq.streaming.policy import Candidate, Policy
from leap_fairseq.streaming.sentence import Sentence, next_sentence_token
from leap_fairseq.streaming.speech_gate import SpeechGate
from leap_fairseq.streaming.tokens import NextToken, Step, Word, check_max_len

logger = logging.getLogger(__name__)


class Stream:
    """A stream of speech and its translation so far; :class:`leap_fairseq.streaming.StreamingTranslator` runs one.

    Args:
        model: a simultaneous translator, in evaluation mode, such as ``leap_convtransformer_simul_trans``.
        dictionary: of the target.
        detokenizer: turns its symbols into words.
        cmvn: global normalisation of the features, or None.
        policy: when a token may be written (default: the one that the model was trained for).
        max_len_a, max_len_b: a sentence has at most ``a * T + b`` tokens, T the features that the last of them may see.
        long_form: the stream holds any number of sentences.
        speech_gate: write nothing of a sentence before its speech is heard; see
            :mod:`leap_fairseq.streaming.speech_gate`.

    Attributes:
        steps: the tokens of the sentence so far; kept for inspection.
        sentences: how many have been ended.
        decoder_steps: tokens computed since the last reset.

    Raises:
        ValueError: no policy of the model or given, no training for the long form, or no token for a sentence.
    """

    def __init__(
        self,
        model: Any,
        dictionary: Any,
        detokenizer: StreamingDetokenizer,
        cmvn: Optional[GlobalCmvn] = None,
        policy: Optional[Policy] = None,
        max_len_a: float = 0.0,
        max_len_b: int = 200,
        long_form: bool = False,
        speech_gate: bool = True,
    ):
        policy = policy or getattr(model, "policy", None)
        if policy is None:
            raise ValueError(
                f"{type(model).__name__} has no read/write policy: train --arch leap_convtransformer_simul_trans"
            )
        check_max_len(max_len_a, max_len_b)
        self.model, self.dictionary, self.detokenizer, self.cmvn = model, dictionary, detokenizer, cmvn
        self.policy, self.max_len_a, self.max_len_b = policy, max_len_a, max_len_b
        self.long_form, self.speech_gate = long_form, speech_gate
        self._stops = [dictionary.eos()]
        if long_form:
            self._stops.append(next_sentence_token(model, dictionary))
        self.reset()

    @property
    def finished(self) -> bool:
        """Whether the translation is complete: no push will bring another word."""
        return self._finished

    @property
    def encoder_frames(self) -> int:
        """Encoder frames computed since the last reset, repeats included."""
        return self._frames_before + self._sentence.source.computed

    @property
    def untranslated_ms(self) -> float:
        """Speech behind what a complete translation was written from, ms: what a model of sentences leaves undone."""
        return self._gate.untranslated_ms

    def notice(self) -> Optional[str]:
        """What of the sound was not translated by now, and what to do about it; None where that is little."""
        return self._gate.notice(self._frames_read(), self._received_ms)

    def reset(self) -> None:
        """Forgets the utterance."""
        self.detokenizer.flush()
        self.steps: List[Step] = []
        self.sentences = self.decoder_steps = self._frames_before = 0
        self._resampler: Optional[OnlineResampler] = None
        self._fbank = OnlineFbank(SAMPLE_RATE)
        self._gate = SpeechGate(self.speech_gate, self.long_form)
        self._received = 0
        self._source_ended = self._finished = False
        self._sentence = Sentence(self.model, self.dictionary, 0, self._stops, keep=self.long_form)

    def hear(self, samples, sample_rate: int = SAMPLE_RATE) -> None:
        """Takes the next samples without writing what they allow; for several translators that write together.

        Args:
            samples, sample_rate: as for :meth:`push`.

        Raises:
            ValueError: as for :meth:`push`.
        """
        if self._source_ended:
            raise ValueError("the utterance has been finished: call reset() before the next one")
        resampler = self._resampler or OnlineResampler(sample_rate)
        if resampler.source_rate != sample_rate:
            raise ValueError(
                f"the sample rate changed from {resampler.source_rate} to {sample_rate} Hz within an utterance: "
                "call reset() between recordings"
            )
        heard = resampler.push(samples)  # or refused, and then not received
        self._resampler = resampler
        self._received += len(samples)
        self._listen(heard)

    def hear_end(self) -> None:
        """Ends the source without writing what remains."""
        if not self._source_ended:
            self._source_ended = True
            if self._resampler is not None:
                self._listen(self._resampler.push(np.zeros(0, np.float32), last=True))

    def close(self) -> None:
        """Ends the translation, of which everything was written."""
        self._finished = True
        logger.info(
            "%.2f s of speech: %d encoder frames computed, %d decoder steps, %d sentences ended",
            *(self._received_ms / 1000, self.encoder_frames, self.decoder_steps, self.sentences),
        )
        notice = self.notice()
        if notice:
            logger.warning(notice)

    @property
    def _received_ms(self) -> float:
        """Of whole samples, so that the border of a decision is met exactly at every rate."""
        return self._received * 1000 / self._resampler.source_rate if self._received else 0.0

    def _listen(self, samples: np.ndarray) -> None:
        features = self._fbank.push(samples)
        self._gate.hear(features)
        if not self._finished:
            self._sentence.source.push(features if self.cmvn is None else self.cmvn(features))

    def next_token(self) -> Optional[NextToken]:
        """What the policy allows to be written by now; None until more is heard."""
        if not self._begin_next():
            return None
        if not self._sentence.has_begun():
            self._gate.forget(self._sentence.first_frame)
            return None
        if not self._gate.is_open(self._sentence):
            return None
        required = max(self.policy.required_frames(self._sentence), self._sentence.needed)
        heard = self._heard(required)
        # Audio shorter than one window has no features and no translation.
        if not heard and not (self._source_ended and self._sentence.source.heard):
            return None
        draft = heard and self.policy.draft_tokens > 0
        attended = draft and self.policy.reads_attention
        frames = required if heard else None
        return NextToken(self._sentence, frames, self._max_len(frames), draft, attended)

    def take(self, following: NextToken, candidate: Candidate) -> List[Word]:
        """Takes a token that was computed, and writes what the policy accepts.

        Args:
            following: of :meth:`next_token`.
            candidate: the token.

        Returns:
            The words that became known.
        """
        sentence, draft = self._sentence, self._sentence.draft
        self.decoder_steps += 1
        draft.append(candidate)
        accepted = len(draft)
        if following.draft:
            if accepted < self.policy.draft_tokens and not sentence.stops_at(candidate):
                return []
            accepted = self.policy.accepted(sentence, draft)
        words: List[Word] = []
        for token, *_ in sentence.write(accepted, self.policy.decision_frames):
            words += self._written(token, everything=following.frames is None)
        return words

    def _written(self, token: int, everything: bool) -> List[Word]:
        """Takes note of a token that was written, and whether from everything that was said."""
        sentence, ends = self._sentence, token in self._stops
        self.steps.append(Step(token, sentence.frames, self._received_ms))
        texts = self.detokenizer.flush() if ends else self._detokenize(token)
        words = [Word(text, self._received_ms, self.sentences) for text in texts]
        if ends:
            self.sentences += 1
            # Of a single sentence, and where all was seen and nothing announced, nothing is left to translate.
            self._finished = not self.long_form or (everything and token == self.dictionary.eos())
        if self._finished:
            self._gate.complete(self._frames_read())
        return words

    def _detokenize(self, token: int) -> List[str]:
        piece = self.dictionary[token]
        silent = token in (self.dictionary.bos(), self.dictionary.pad()) or piece == NEXT_SENTENCE
        return [] if silent else self.detokenizer.push(piece)

    def _begin_next(self) -> bool:
        """Goes on to the next sentence where one has ended; returns whether there is one to write."""
        last = self._sentence
        if self._finished or not last.ended:
            return not self._finished
        length = last.end_of_speech(self._source_ended)
        if length is None:
            return False
        self._frames_before += last.source.computed
        self._sentence, self.steps = last.following(length), []
        logger.debug("sentence %d ends at %.2f s", self.sentences, self._sentence.first_frame * FRAME_MS / 1000)
        # Less than one decision behind the last sentence is no further one.
        self._finished = self._source_ended and not self._heard(self.policy.decision_frames)
        return not self._finished

    def _frames_read(self) -> int:
        """Encoder frames of the stream that the decoder has seen."""
        return self._sentence.first_frame + self._sentence.source.frames

    def _heard(self, frames: int) -> bool:
        """Whether so many frames of the sentence have been heard.

        Their last window ends FEATURES_MISSING before them, by which time a resampler has caught up.
        """
        end = self._sentence.first_frame + frames
        ready = self._sentence.source.heard >= frames * FEATURES_PER_FRAME - FEATURES_MISSING
        return ready and end * FRAME_MS <= self._received_ms

    def _max_len(self, frames: Optional[int]) -> int:
        """Tokens at most, by what the next one may see: what was heard beyond that depends on how it was cut."""
        features = self._sentence.source.heard if frames is None else frames * FEATURES_PER_FRAME
        return min(int(self.max_len_a * features + self.max_len_b), self.model.max_decoder_positions() - 1)
