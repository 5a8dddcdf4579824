"""Wait-k speech translation of a stream: push samples, get words.

The policy is that of training: target i is written from the first ``(i + k) * r`` encoder frames, or from all of them
once the source has ended. A frame stands for 40 ms of audio, and the encoder sees exactly the features of that audio,
so that words do not depend on how the stream was cut. The encoder runs anew on the whole prefix at each step, as in
the paper; the decoder keeps a state.

Shape legend: N samples, T feature frames, S encoder frames.
"""

import logging
import os
from dataclasses import dataclass
from typing import List, Optional

import numpy as np
import torch

from leap_fairseq.attention import waitk_requirement
from leap_fairseq.simul.detokenizer import StreamingDetokenizer
from leap_fairseq.speech import SAMPLE_RATE, GlobalCmvn, OnlineFbank, OnlineResampler

logger = logging.getLogger(__name__)

FEATURES_PER_FRAME = 4
FRAME_MS = 40
"""Speech that an encoder frame stands for."""

SAMPLES_PER_FRAME = SAMPLE_RATE * FRAME_MS // 1000
# The window of 25 ms reaches 15 ms beyond its shift of 10 ms, so the last two features of a prefix are not there yet.
FEATURES_MISSING = 2


@dataclass(frozen=True)
class Word:
    """A word of the translation, or a character or piece where that is the unit of the detokenizer.

    Attributes:
        text: what was written.
        delay: audio that had been received when the word was written, in ms.
    """

    text: str
    delay: float


@dataclass(frozen=True)
class Step:
    """One written token, for inspection.

    Attributes:
        token: its index in the dictionary.
        frames: encoder frames that had been read.
        delay: audio that had been received, in ms.
    """

    token: int
    frames: int
    delay: float


class StreamingTranslator:
    """Translates one utterance at a time while it is being spoken.

    Args:
        model: a ``leap_convtransformer_simul_trans``, in evaluation mode.
        dictionary: of the target.
        detokenizer: turns its symbols into words.
        cmvn: global normalisation of the features, or None.
        lagging: k of wait-k (default: the highest of the checkpoint).
        max_len_a, max_len_b: a hypothesis has at most ``a * T + b`` tokens.

    Attributes:
        steps: the tokens written so far; kept for inspection.

    Raises:
        ValueError: lagging is below 1, or the model has no wait-k schedule.
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
    ):
        schedule = getattr(model.decoder, "waitk", None)
        if schedule is None:
            raise ValueError(
                f"{type(model).__name__} has no wait-k schedule: train --arch leap_convtransformer_simul_trans"
            )
        schedule.set(schedule.high if lagging is None else lagging)
        self.model, self.dictionary, self.detokenizer, self.cmvn = model, dictionary, detokenizer, cmvn
        self.lagging, self.ratio = schedule.lagging, schedule.ratio
        self.max_len_a, self.max_len_b = max_len_a, max_len_b
        self.reset()

    @classmethod
    def from_checkpoint(cls, checkpoint: str, data: Optional[str] = None, config_yaml: Optional[str] = None, **options):
        """Loads a trained model; see :func:`leap_fairseq.simul.checkpoint.load_translator` for arguments and errors."""
        from leap_fairseq.simul.checkpoint import load_translator

        return load_translator(cls, checkpoint, data, config_yaml, **options)

    @classmethod
    def from_pretrained(cls, folder: str, **options):
        """Loads a model that is one folder, made by ``scripts/simulst/export.py``.

        Args:
            folder: of the model.
            options: as for the constructor: lagging, max_len_a, max_len_b; and unit: word, char or spm.

        Raises:
            FileNotFoundError: it is not such a folder.
            ValueError: as for :func:`leap_fairseq.simul.checkpoint.load_translator`.
        """
        from leap_fairseq.simul.export import CHECKPOINT, CONFIG

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
            FileNotFoundError, ValueError: as for :func:`leap_fairseq.simul.checkpoint.load_translator`.
        """
        if os.path.isdir(path):
            return cls.from_pretrained(path, **options)
        return cls.from_checkpoint(path, data, config_yaml, **options)

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

    def reset(self) -> None:
        """Forgets the utterance."""
        self.detokenizer.flush()
        self.steps: List[Step] = []
        self._resampler: Optional[OnlineResampler] = None
        self._fbank = OnlineFbank(SAMPLE_RATE)
        self._features: List[np.ndarray] = []
        self._received_ms = 0.0
        self._samples = 0
        self._source_ended = self._finished = False
        self._tokens = [self.dictionary.eos()]
        self._incremental_state: dict = {}
        self._encoded, self._encoder_out = 0, None

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
        return self._write()

    def finish(self) -> List[Word]:
        """Ends the source.

        Returns:
            All words that remain.
        """
        if not self._source_ended:
            self._source_ended = True
            if self._resampler is not None:
                self._listen(self._resampler.push(np.zeros(0, np.float32), last=True))
        words = self._write()
        self._finished = True
        return words

    def _listen(self, samples: np.ndarray) -> None:
        self._samples += samples.shape[0]
        frames = self._fbank.push(samples)
        if frames.shape[0]:
            self._features.append(frames if self.cmvn is None else self.cmvn(frames))

    def _write(self) -> List[Word]:
        """Writes all tokens that the policy allows by now."""
        words: List[str] = []
        while not self._finished and self._ready():
            token = self._next_token()
            if token == self.dictionary.eos():
                self._finished = True
                words += self.detokenizer.flush()
            elif token not in (self.dictionary.bos(), self.dictionary.pad()):
                words += self.detokenizer.push(self.dictionary[token])
        return [Word(text, self._received_ms) for text in words]

    def _ready(self) -> bool:
        if self._source_ended:
            # Audio shorter than one window has no features and no translation.
            return bool(self._features)
        return self._required_frames() * SAMPLES_PER_FRAME <= self._samples

    def _required_frames(self) -> int:
        return waitk_requirement(len(self._tokens) - 1, self.lagging, self.ratio)

    @torch.no_grad()
    def _next_token(self) -> int:
        """Encodes what has been read and decodes one token greedily, as fairseq's generator would with beam 1."""
        self._encode()
        tokens = torch.tensor([self._tokens], device=self._device)
        out = self.model.decoder(tokens, encoder_out=self._encoder_out, incremental_state=self._incremental_state)
        scores = out[0][0, -1].float()
        eos, written = self.dictionary.eos(), len(self._tokens) - 1
        scores[self.dictionary.pad()] = -torch.inf
        if written == 0:
            scores[eos] = -torch.inf
        token = int(scores.argmax())
        if written >= self._max_len() and token != eos:
            logger.warning("hypothesis cut at its maximum of %d tokens (--max-len-a, --max-len-b)", written)
            token = eos
        self._tokens.append(token)
        frames = self._encoder_out["encoder_out"][0].shape[0]
        self.steps.append(Step(token, frames, self._received_ms))
        return token

    def _encode(self) -> None:
        """Encodes the features of the audio that the next token waits for: all of them if it lies beyond the end."""
        available = sum(len(frames) for frames in self._features)
        needed = self._required_frames()
        if needed * SAMPLES_PER_FRAME <= self._samples:
            available = needed * FEATURES_PER_FRAME - FEATURES_MISSING
        if available == self._encoded:
            return
        features = np.concatenate(self._features)[:available]
        parameter = next(self.model.parameters())
        source = torch.from_numpy(features).to(parameter)[None]
        lengths = torch.tensor([available], device=parameter.device)
        self._encoder_out = self.model.encoder(src_tokens=source, src_lengths=lengths)
        self._encoded = available

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _max_len(self) -> int:
        features = sum(len(frames) for frames in self._features)
        limit = int(self.max_len_a * features + self.max_len_b)
        return min(limit, self.model.max_decoder_positions() - 1)
