"""The speech of one utterance as the decoder sees it: encoded anew with every pre-decision, or each frame once.

Shape legend: T feature frames, S encoder frames, M mel bins, C model dimension.
"""

from abc import ABC, abstractmethod
from typing import Any, Dict, List, Optional

import numpy as np
import torch
from torch import Tensor

FEATURES_PER_FRAME = 4
# The window of 25 ms reaches 15 ms beyond its shift of 10 ms, so the last two features of a prefix are not there yet.
FEATURES_MISSING = 2


class Source(ABC):
    """What has been heard of an utterance.

    Args:
        model: in evaluation mode.

    Attributes:
        heard: features heard.
        frames: encoder frames that the decoder can see.
        computed: encoder frames computed for them, repeats included.
    """

    def __init__(self, model: Any):
        self.model = model
        self.heard = self.frames = self.computed = 0
        self._features: List[np.ndarray] = []

    def push(self, features: np.ndarray) -> None:
        """Hears on.

        Args:
            features: float32 [T, M], normalised.
        """
        if len(features):
            self._features.append(features)
            self.heard += len(features)

    @abstractmethod
    def show(self, frames: Optional[int], memory: Dict[str, Any]) -> Optional[Dict[str, List[Tensor]]]:
        """Lets the decoder see more.

        Args:
            frames: how many it shall see, from the start; they must have been heard. None for all: there are no more.
            memory: the incremental state of the decoder.

        Returns:
            The decoder's ``encoder_out``; None where the frames are in its memory.
        """

    def _tensor(self, features: np.ndarray) -> Tensor:
        """Features [T, M] as the model takes them, [1, T, M]."""
        return torch.from_numpy(features).to(next(self.model.parameters()))[None]


class PrefixSource(Source):
    """For an encoder that sees everything heard: whatever is added changes all frames, so all are computed again."""

    def __init__(self, model: Any):
        super().__init__(model)
        self._encoded, self._encoder_out = 0, None

    def show(self, frames: Optional[int], memory: Dict[str, Any]) -> Optional[Dict[str, List[Tensor]]]:
        """See :meth:`Source.show`."""
        count = self.heard if frames is None else frames * FEATURES_PER_FRAME - FEATURES_MISSING
        if count != self._encoded:
            source = self._tensor(np.concatenate(self._features)[:count])
            lengths = torch.tensor([count], device=source.device)
            self._encoder_out = self.model.encoder(src_tokens=source, src_lengths=lengths)
            self._encoded = count
            self.frames = self._encoder_out["encoder_out"][0].shape[0]
            self.computed += self.frames
        return self._encoder_out


class SegmentSource(Source):
    """For an encoder that sees segment by segment: a frame is computed once and absorbed by the decoder once.

    Args:
        model: in evaluation mode, with ``--encoder-visibility segment``.
        keep: keep features and frames of the whole utterance, for :meth:`from_frame` and ``kept``.

    Attributes:
        kept: the frames shown, each [S, 1, C].
    """

    def __init__(self, model: Any, keep: bool = False):
        super().__init__(model)
        self.kept: List[Tensor] = []
        self._keep, self._state, self._ended = keep, None, False
        self._past: List[np.ndarray] = []

    def show(self, frames: Optional[int], memory: Dict[str, Any]) -> None:
        """See :meth:`Source.show`."""
        if self._ended or (frames is not None and frames <= self.frames):
            return
        fed = self.heard - sum(len(features) for features in self._features)
        wanted = self.heard if frames is None else frames * FEATURES_PER_FRAME - FEATURES_MISSING
        waiting = np.concatenate(self._features) if self._features else np.zeros((0, self._num_bins), np.float32)
        features, self._features = waiting[: wanted - fed], [waiting[wanted - fed :]]
        self._ended = frames is None
        new, self._state = self.model.encode_segment(self._tensor(features), self._state, last=self._ended)
        self.model.decoder.absorb(new, memory)
        self.computed = self._state.frames
        self.frames += len(new)
        if self._keep:
            self.kept.append(new)
            self._past.append(features)

    def drop(self, frames: int) -> None:
        """Forgets the first frames, none of which has been shown."""
        rest = np.concatenate(self._features)[frames * FEATURES_PER_FRAME :]
        self._features, self.heard = [rest], len(rest)

    def from_frame(self, frame: int) -> np.ndarray:
        """The features heard from a frame on, [T, M]."""
        return np.concatenate([*self._past, *self._features])[frame * FEATURES_PER_FRAME :]

    @property
    def _num_bins(self) -> int:
        return self.model.encoder.input_dim


def make_source(model: Any, keep: bool = False) -> Source:
    """The source that the model's encoder allows; arguments as for :class:`SegmentSource`."""
    return PrefixSource(model) if model.encoder.segment is None else SegmentSource(model, keep)
