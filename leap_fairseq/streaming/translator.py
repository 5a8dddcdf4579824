"""Translation of a stream while it is being spoken: push samples, get words.

The words are those that the policy of training gives: with wait-k, target i is written from the first ``(i + k) * r``
encoder frames, or from all of them once the source has ended. With ``--encoder-visibility full`` the encoder runs anew
on the whole prefix at each step, as in the paper; with ``segment`` each frame is computed once. The decoder keeps a
state.

Shape legend: N samples.
"""

import copy
from typing import Any, List, Optional

import torch

from leap_fairseq.speech import SAMPLE_RATE
from leap_fairseq.streaming.batching import finish_batch, push_batch
from leap_fairseq.streaming.policy import Policy
from leap_fairseq.streaming.stream import Stream
from leap_fairseq.streaming.tokens import Word


class StreamingTranslator(Stream):
    """Translates an utterance, or in long form a speech of any length; see :class:`Stream` for arguments and errors."""

    def push(self, samples: Any, sample_rate: int = SAMPLE_RATE) -> List[Word]:
        """Takes the next samples.

        Args:
            samples: [N] or [N, channels], floats in [-1, 1]; stereo is averaged.
            sample_rate: Hz, the same for all samples of an utterance; resampled where it is not 16 kHz.

        Returns:
            The words that became known.

        Raises:
            ValueError: the rate changed within an utterance, the utterance has been finished, or the samples or their
                rate are those of no recording; nothing of them is heard.
        """
        return push_batch([self], [samples], sample_rate)[0]

    def finish(self) -> List[Word]:
        """Ends the source.

        Returns:
            All words that remain.
        """
        return finish_batch([self])[0]

    def new_stream(self, policy: Optional[Policy] = None) -> "StreamingTranslator":
        """A further stream over the same model, with a state of its own; the weights are shared and only read.

        Args:
            policy: of the new stream (default: that of this one).
        """
        # A copy shares the SentencePiece model; the pieces of a sentence are its own from the reset on.
        return StreamingTranslator(
            *(self.model, self.dictionary, copy.copy(self.detokenizer), self.cmvn, policy or self.policy),
            *(self.max_len_a, self.max_len_b, self.long_form, self.speech_gate),
        )

    def to(self, device: str, dtype: Optional[torch.dtype] = None) -> "StreamingTranslator":
        """Moves the model.

        Args:
            device: "cpu", "cuda", ...
            dtype: float32, bfloat16 or float16 (default: as it is).
        """
        self.model.to(device=device, dtype=dtype)
        return self
