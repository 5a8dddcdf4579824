"""One sentence while it is being translated: what was heard, what was written, and the state of the decoder.

Shape legend: S encoder frames, C model dimension, B candidates, T tokens.
"""

import logging
from typing import Any, Dict, List, Optional

import torch
from torch import Tensor

from leap_fairseq.attention import waitk_requirement
from leap_fairseq.simul.source import make_source

logger = logging.getLogger(__name__)

CANDIDATES = 64
"""Places that are considered as the end of a sentence, at most."""

BATCH = 16


class Sentence:
    """A hypothesis and the speech it is written from.

    Args:
        model: a wait-k translator, in evaluation mode, its k set.
        dictionary: of the target.
        first_frame: where in the stream the sentence begins, in encoder frames.
        stops: indices of the tokens that end it.
        keep: keep the speech, for :meth:`end_of_speech`.

    Attributes:
        source: the speech.
        tokens: written so far, without the one that ends the sentence.
        ended: whether that one was written.
    """

    def __init__(self, model: Any, dictionary: Any, first_frame: int, stops: List[int], keep: bool = False):
        self.model, self.dictionary, self.first_frame, self.stops = model, dictionary, first_frame, stops
        self.source = make_source(model, keep)
        self.tokens: List[int] = []
        self.ended = False
        self._memory: Dict[str, Any] = {}

    @property
    def required_frames(self) -> int:
        """Frames from its beginning that must have been read before the next token is written."""
        schedule = self.model.decoder.waitk
        return waitk_requirement(len(self.tokens), schedule.lagging, schedule.ratio)

    @torch.no_grad()
    def write(self, frames: Optional[int], max_len: int) -> int:
        """Decodes one token greedily, as fairseq's generator would with beam 1.

        Args:
            frames: that the token may see; None for all, where the speech has ended.
            max_len: tokens of a sentence, at most.

        Returns:
            Its index.
        """
        encoder_out = self.source.show(frames, self._memory)
        device = next(self.model.parameters()).device
        previous = torch.tensor([[self.dictionary.eos(), *self.tokens]], device=device)
        out = self.model.decoder(previous, encoder_out=encoder_out, incremental_state=self._memory)
        scores = out[0][0, -1].float()
        scores[self.dictionary.pad()] = -torch.inf
        if not self.tokens:
            scores[self.stops] = -torch.inf
        token = int(scores.argmax())
        if len(self.tokens) >= max_len and token not in self.stops:
            logger.warning("hypothesis cut at its maximum of %d tokens (--max-len-a, --max-len-b)", len(self.tokens))
            token = self.dictionary.eos()
        self.ended = token in self.stops
        if not self.ended:
            self.tokens.append(token)
        return token

    @torch.no_grad()
    def end_of_speech(self) -> int:
        """Where the speech of the sentence ended, of which the decoder may have read more.

        It is the segment after which the model gives the most probability to what it has written, and to the end of
        the sentence, if the source ended there.

        Returns:
            Encoder frames from the beginning of the sentence, at least one segment.
        """
        frames, ratio = torch.cat(self.source.kept), self.model.decoder.waitk.ratio
        step = ratio * -(-len(frames) // (ratio * CANDIDATES))
        ends = torch.tensor([*range(step, len(frames), step), len(frames)])
        scores = torch.cat([self._score(frames, some) for some in ends.split(BATCH)])
        return int(ends[scores.argmax()])

    def _score(self, frames: Tensor, ends: Tensor) -> Tensor:
        """Log-probabilities [B] of the sentence for speech [S, 1, C] that ends at each of these frames [B]."""
        eos, device = self.dictionary.eos(), frames.device
        previous = torch.tensor([[eos, *self.tokens]], device=device).expand(len(ends), -1)
        target = torch.tensor([[*self.tokens, eos]], device=device).expand(len(ends), -1)
        padding = (torch.arange(len(frames)) >= ends.unsqueeze(1)).to(device)
        speech = {"encoder_out": [frames.expand(-1, len(ends), -1)], "encoder_padding_mask": [padding]}
        scores = self.model.decoder(previous, encoder_out=speech)[0].float().log_softmax(-1)
        return scores.gather(-1, target.unsqueeze(-1)).sum((1, 2)).cpu()
