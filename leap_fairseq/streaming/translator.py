"""Wait-k speech translation of a stream: push samples, get words.

The policy is that of training: target i is written from the first ``(i + k) * r`` encoder frames, or from all of them
once the source has ended. A frame stands for 40 ms of audio, and the encoder sees exactly the features of that audio,
so that words do not depend on how the stream was cut. With ``--encoder-visibility full`` the encoder runs anew on the
whole prefix at each step, as in the paper; with ``segment`` each frame is computed once. The decoder keeps a state.

In long form the stream is speech without a known segmentation: when the decoder ends a sentence, the next one begins
behind the pause where the speech of the last one ended, with an empty state: memory and time stay constant.

Shape legend: N samples, T feature frames.
"""

import copy
import logging
import os
from dataclasses import dataclass
from typing import List, Optional

import numpy as np
import torch

from leap_fairseq.streaming.detokenizer import StreamingDetokenizer
from leap_fairseq.streaming.sentence import Sentence
from leap_fairseq.streaming.batching import NextToken, write_all
from leap_fairseq.speech import NEXT_SENTENCE, SAMPLE_RATE, GlobalCmvn, OnlineFbank, OnlineResampler

logger = logging.getLogger(__name__)

FRAME_MS = 40
"""Speech that an encoder frame stands for."""

SAMPLES_PER_FRAME = SAMPLE_RATE * FRAME_MS // 1000


@dataclass(frozen=True)
class Word:
    """A word of the translation, or a character or piece where that is the unit of the detokenizer.

    Attributes:
        text: what was written.
        delay: audio that had been received when the word was written, in ms.
        sentence: number of its sentence from 0, in long form.
    """

    text: str
    delay: float
    sentence: int = 0


@dataclass(frozen=True)
class Step:
    """One written token, for inspection.

    Attributes:
        token: its index in the dictionary.
        frames: encoder frames of its sentence that had been read.
        delay: audio that had been received, in ms.
    """

    token: int
    frames: int
    delay: float


class StreamingTranslator:
    """Translates an utterance, or in long form a speech of any length, while it is being spoken.

    Args:
        model: a ``leap_convtransformer_simul_trans``, in evaluation mode.
        dictionary: of the target.
        detokenizer: turns its symbols into words.
        cmvn: global normalisation of the features, or None.
        lagging: k of wait-k (default: the highest of the checkpoint).
        max_len_a, max_len_b: a hypothesis has at most ``a * T + b`` tokens; in long form, each sentence.
        long_form: the stream holds any number of sentences.

    Attributes:
        steps: the tokens of the sentence so far; kept for inspection.
        sentences: how many have been ended.
        decoder_steps: tokens computed since the last reset.

    Raises:
        ValueError: lagging is below 1, the model has no wait-k schedule, or it was not trained for the long form.
    """

    def __init__(
        self,
        model,
        dictionary,
        detokenizer: StreamingDetokenizer,
        cmvn: Optional[GlobalCmvn] = None,
        lagging: Optional[int] = None,
        max_len_a: float = 0.0,
        max_len_b: int = 200,
        long_form: bool = False,
    ):
        schedule = getattr(model.decoder, "waitk", None)
        if schedule is None:
            raise ValueError(
                f"{type(model).__name__} has no wait-k schedule: train --arch leap_convtransformer_simul_trans"
            )
        schedule.set(schedule.high if lagging is None else lagging)
        self.model, self.dictionary, self.detokenizer, self.cmvn = model, dictionary, detokenizer, cmvn
        self.lagging, self.ratio = schedule.lagging, schedule.ratio
        self.max_len_a, self.max_len_b, self.long_form = max_len_a, max_len_b, long_form
        self._stops = [dictionary.eos()]
        if long_form:
            check_long_form(model, dictionary)
            self._stops.append(dictionary.index(NEXT_SENTENCE))
        self.reset()

    @classmethod
    def from_checkpoint(cls, checkpoint: str, data: Optional[str] = None, config_yaml: Optional[str] = None, **options):
        """Loads a trained model; see :func:`leap_fairseq.models.translator_checkpoint.load_translator` for arguments and errors."""
        from leap_fairseq.models.translator_checkpoint import load_translator

        return load_translator(cls, checkpoint, data, config_yaml, **options)

    @classmethod
    def from_pretrained(cls, folder: str, **options):
        """Loads a model that is one folder, made by ``scripts/simulst/export.py``.

        Args:
            folder: of the model.
            options: as for the constructor: lagging, max_len_a, max_len_b, long_form; and unit: word, char or spm.

        Raises:
            FileNotFoundError: it is not such a folder.
            ValueError: as for :func:`leap_fairseq.models.translator_checkpoint.load_translator`.
        """
        from leap_fairseq.models.export import CHECKPOINT, CONFIG

        return cls.from_checkpoint(os.path.join(folder, CHECKPOINT), folder, CONFIG, **options)

    @classmethod
    def from_path(cls, path: str, data: Optional[str] = None, config_yaml: Optional[str] = None, **options):
        """Loads an exported folder or a checkpoint, whichever the path is.

        Args:
            path: of the folder or the .pt file.
            data: folder of the data YAML of a checkpoint (default: the one of training).
            config_yaml: its name (default: the one of training).
            options: as for :meth:`from_pretrained`.

        Raises:
            FileNotFoundError, ValueError: as for :func:`leap_fairseq.models.translator_checkpoint.load_translator`.
        """
        if os.path.isdir(path):
            return cls.from_pretrained(path, **options)
        return cls.from_checkpoint(path, data, config_yaml, **options)

    def new_stream(self) -> "StreamingTranslator":
        """A further translator over the same model, with a state of its own.

        The weights are shared and only read. So is the wait-k schedule of the model: all its translators have one k.
        """
        # A copy shares the SentencePiece model; the pieces of a sentence are its own from the reset below on.
        detokenizer = copy.copy(self.detokenizer)
        return StreamingTranslator(
            *(self.model, self.dictionary, detokenizer, self.cmvn, self.lagging),
            *(self.max_len_a, self.max_len_b, self.long_form),
        )

    def to(self, device: str, dtype: Optional[torch.dtype] = None) -> "StreamingTranslator":
        """Moves the model.

        Args:
            device: "cpu", "cuda", ...
            dtype: float32, bfloat16 or float16 (default: as it is).
        """
        self.model.to(device=device, dtype=dtype)
        return self

    @property
    def finished(self) -> bool:
        """Whether the translation is complete: no push will bring another word."""
        return self._finished

    @property
    def encoder_frames(self) -> int:
        """Encoder frames computed since the last reset, repeats included."""
        return self._frames_before + self._sentence.source.computed

    def reset(self) -> None:
        """Forgets the utterance."""
        self.detokenizer.flush()
        self.steps: List[Step] = []
        self.sentences = self.decoder_steps = self._frames_before = 0
        self._resampler: Optional[OnlineResampler] = None
        self._fbank = OnlineFbank(SAMPLE_RATE)
        self._received_ms = 0.0
        self._samples = 0
        self._source_ended = self._finished = False
        self._sentence = Sentence(self.model, self.dictionary, 0, self._stops, keep=self.long_form)

    def push(self, samples, sample_rate: int = SAMPLE_RATE) -> List[Word]:
        """Takes the next samples.

        Args:
            samples: [N] or [N, channels], floats in [-1, 1]; stereo is averaged.
            sample_rate: Hz, the same for all samples of an utterance; resampled where it is not 16 kHz.

        Returns:
            The words that became known.

        Raises:
            ValueError: the rate changed within an utterance, or the utterance has been finished.
        """
        self.hear(samples, sample_rate)
        return write_all([self])[0]

    def hear(self, samples, sample_rate: int = SAMPLE_RATE) -> None:
        """Takes the next samples without writing what they allow; for several translators that write together.

        Args:
            samples, sample_rate: as for :meth:`push`.

        Raises:
            ValueError: as for :meth:`push`.
        """
        samples = np.asarray(samples, dtype=np.float32)
        if self._source_ended:
            raise ValueError("the utterance has been finished: call reset() before the next one")
        if self._resampler is None:
            self._resampler = OnlineResampler(sample_rate)
        elif self._resampler.source_rate != sample_rate:
            raise ValueError(
                f"the sample rate changed from {self._resampler.source_rate} to {sample_rate} Hz within an utterance: "
                "call reset() between recordings"
            )
        self._received_ms += samples.shape[0] * 1000 / sample_rate
        self._listen(self._resampler.push(samples))

    def finish(self) -> List[Word]:
        """Ends the source.

        Returns:
            All words that remain.
        """
        self.hear_end()
        words = write_all([self])[0]
        self.close()
        return words

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

    def _listen(self, samples: np.ndarray) -> None:
        self._samples += samples.shape[0]
        features = self._fbank.push(samples)
        if not self._finished:
            self._sentence.source.push(features if self.cmvn is None else self.cmvn(features))

    def next_token(self) -> Optional[NextToken]:
        """What the policy allows to be written by now; None until more is heard."""
        if not self._begin_next() or not self._ready():
            return None
        required = self._sentence.required_frames
        return NextToken(self._sentence, required if self._heard(required) else None, self._max_len())

    def written(self, following: NextToken, token: int) -> List[Word]:
        """Takes note of a token.

        Args:
            following: of :meth:`next_token`.
            token: that was written.

        Returns:
            The words that became known.
        """
        sentence = self._sentence
        self.decoder_steps += 1
        self.steps.append(Step(token, sentence.source.frames, self._received_ms))
        texts = self.detokenizer.flush() if sentence.ended else self._detokenize(token)
        words = [Word(text, self._received_ms, self.sentences) for text in texts]
        if sentence.ended:
            self.sentences += 1
            # Of a single sentence, and where all was seen and nothing announced, nothing is left to translate.
            everything = following.frames is None
            self._finished = not self.long_form or (everything and token == self.dictionary.eos())
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
        # Less than one pre-decision behind the last sentence is no further one.
        self._finished = self._source_ended and not self._heard(self.ratio)
        return not self._finished

    def _heard(self, frames: int) -> bool:
        """Whether so many frames of the sentence have been heard."""
        return (self._sentence.first_frame + frames) * SAMPLES_PER_FRAME <= self._samples

    def _ready(self) -> bool:
        if not self._sentence.has_begun():
            return False
        if self._source_ended:
            # Audio shorter than one window has no features and no translation.
            return self._sentence.source.heard > 0
        return self._heard(self._sentence.required_frames)

    def _max_len(self) -> int:
        limit = int(self.max_len_a * self._sentence.source.heard + self.max_len_b)
        return min(limit, self.model.max_decoder_positions() - 1)


def check_long_form(model, dictionary) -> None:
    """Refuses a model that cannot translate a stream without end.

    Args:
        model: a wait-k translator.
        dictionary: of the target.

    Raises:
        ValueError: its encoder sees whole utterances, or it never saw the end of a sentence within a stretch of speech.
    """
    if model.encoder.segment is None:
        raise ValueError(
            "the long form needs an encoder whose frames are final: train with --encoder-visibility segment"
        )
    if NEXT_SENTENCE not in dictionary:
        raise ValueError(
            f"the dictionary has no {NEXT_SENTENCE}: the model was trained on single sentences and cannot tell where "
            "one ends; prepare the data with --join-segments 4 and train on that"
        )
