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
        state: of the encoder, None before its first features.
        ended: whether all features have been taken, and the source is over.
        kept: the frames shown, each [S, 1, C].
    """

    def __init__(self, model: Any, keep: bool = False):
        super().__init__(model)
        self.state: Optional[Any] = None
        self.ended = False
        self.kept: List[Tensor] = []
        self._keep = keep
        self._past: List[np.ndarray] = []

    def show(self, frames: Optional[int], memory: Dict[str, Any]) -> None:
        """See :meth:`Source.show`."""
        features = self.take(frames)
        if features is not None:
            new, state = self.model.encode_segment(features, self.state, last=self.ended)
            self.model.decoder.absorb(new, memory)
            self.shown(new, state)

    def take(self, frames: Optional[int]) -> Optional[Tensor]:
        """What the encoder must compute so that the decoder can see more.

        Args:
            frames: as for :meth:`show`.

        Returns:
            Features, [1, T, M]; None where the decoder sees as much already. They are taken: give what comes of them
            to :meth:`shown`.
        """
        if self.ended or (frames is not None and frames <= self.frames):
            return None
        fed = self.heard - sum(len(features) for features in self._features)
        wanted = self.heard if frames is None else frames * FEATURES_PER_FRAME - FEATURES_MISSING
        waiting = np.concatenate(self._features) if self._features else np.zeros((0, self._num_bins), np.float32)
        features, self._features = waiting[: wanted - fed], [waiting[wanted - fed :]]
        self.ended = frames is None
        if self._keep:
            self._past.append(features)
        return self._tensor(features)

    def shown(self, new: Tensor, state: Any) -> None:
        """Notes what the encoder made of the features taken, and the decoder absorbed.

        Args:
            new: frames, [S, 1, C].
            state: of the encoder behind them.
        """
        self.state, self.computed = state, state.frames
        self.frames += len(new)
        if self._keep:
            self.kept.append(new)

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
