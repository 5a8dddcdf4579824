"""The speech of one sentence as the decoder sees it: encoded anew with every decision, or each frame once.

A source is pushed features, and says what the encoder must compute so that the decoder can see more (``take``). The
calls of the model are made for several sources at once (``show``), where their streams can be computed together.

Shape legend: B streams, T feature frames, S encoder frames, M mel bins, C model dimension.
"""

from abc import ABC, abstractmethod
from typing import Any, Dict, Hashable, List, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from leap_fairseq.streaming.frames import FEATURES_MISSING, FEATURES_PER_FRAME


class Source(ABC):
    """What has been heard of a sentence.

    Args:
        model: a simultaneous translator, in evaluation mode.

    Attributes:
        heard: features heard.
        frames: encoder frames that the decoder can see.
        computed: encoder frames computed for them, repeats included.
        ended: whether all features have been taken, and the source is over.
    """

    def __init__(self, model: Any):
        self.model = model
        self.heard = self.frames = self.computed = 0
        self.ended = False
        self._features: List[np.ndarray] = []

    def push(self, features: np.ndarray) -> None:
        """Hears on.

        Args:
            features: float32 [T, M], normalised.
        """
        if len(features):
            self._features.append(features)
            self.heard += len(features)

    def drop(self, frames: int) -> None:
        """Forgets the first frames, none of which has been taken."""
        rest = np.concatenate(self._features)[frames * FEATURES_PER_FRAME :]
        self._features, self.heard = [rest], len(rest)

    def take(self, frames: Optional[int]) -> Optional[Tensor]:
        """What the encoder must compute so that the decoder can see more.

        Args:
            frames: how many it shall see, from the start; they must have been heard. None for all: there are no more.

        Returns:
            Features, [1, T, M]; None where the decoder sees as much already. They are taken: give them to
            :meth:`show`.
        """
        if self.ended or (frames is not None and frames <= self.frames):
            return None
        self.ended = frames is None
        features = self._cut(self.heard if frames is None else frames * FEATURES_PER_FRAME - FEATURES_MISSING)
        return None if features is None else torch.from_numpy(features).to(next(self.model.parameters()))[None]

    @abstractmethod
    def _cut(self, count: int) -> Optional[np.ndarray]:
        """Of the first ``count`` features, those that the encoder needs, [T, M]; None where it needs none."""

    @property
    @abstractmethod
    def shape(self) -> Hashable:
        """The shapes of what is carried on: streams can be computed together in which they agree."""

    @staticmethod
    @abstractmethod
    def show(sources: Sequence[Any], features: Sequence[Tensor], memory: Dict[str, Any]) -> None:
        """Lets the decoder see what the encoder makes of the features.

        Args:
            sources: of one model, a kind and a ``shape``; several only where streams can be computed together.
            features: taken of each, [1, T, M].
            memory: the incremental state of the decoder, a row for each.
        """


class PrefixSource(Source):
    """For an encoder that sees everything heard: whatever is added changes all frames, so all are computed again."""

    shape = ()
    _encoded = 0

    def _cut(self, count: int) -> Optional[np.ndarray]:
        if count == self._encoded:
            return None
        self._encoded, self._features = count, [np.concatenate(self._features)]
        return self._features[0][:count]

    @staticmethod
    def show(sources: Sequence["PrefixSource"], features: Sequence[Tensor], memory: Dict[str, Any]) -> None:
        """See :meth:`Source.show`; of one source."""
        (source,), (prefix,) = sources, features
        lengths = torch.tensor([prefix.shape[1]], device=prefix.device)
        frames = source.model.encoder(src_tokens=prefix, src_lengths=lengths)["encoder_out"][0]
        source.model.decoder.forget_source(memory)
        source.model.decoder.absorb(frames, memory)
        source.frames = len(frames)
        source.computed += len(frames)


class SegmentSource(Source):
    """For an encoder that sees segment by segment: a frame is computed once and absorbed by the decoder once.

    Args:
        model: a simultaneous translator, in evaluation mode, with ``--encoder-visibility segment``.
        keep: keep features and frames of the whole sentence, for :meth:`from_frame` and ``kept``.

    Attributes:
        state: of the encoder, None before its first features.
        kept: the frames shown, each [S, 1, C].
    """

    def __init__(self, model: Any, keep: bool = False):
        super().__init__(model)
        self.state: Optional[Any] = None
        self.kept: List[Tensor] = []
        self._keep = keep
        self._past: List[np.ndarray] = []

    @property
    def shape(self) -> Hashable:
        """See :attr:`Source.shape`."""
        return None if self.state is None else self.state.shape

    def _cut(self, count: int) -> np.ndarray:
        fed = self.heard - sum(len(features) for features in self._features)
        # One piece is cut without a copy: a recording may have been given whole.
        none = np.zeros((0, self.model.encoder.input_dim), np.float32)
        waiting = self._features[0] if len(self._features) == 1 else np.concatenate([none, *self._features])
        features, self._features = waiting[: count - fed], [waiting[count - fed :]]
        if self._keep:
            self._past.append(features)
        return features

    @staticmethod
    def show(sources: Sequence["SegmentSource"], features: Sequence[Tensor], memory: Dict[str, Any]) -> None:
        """See :meth:`Source.show`."""
        model = sources[0].model
        state = model.encoder.merge_states([source.state for source in sources])
        new, state = model.encode_segment(torch.cat(list(features)), state, last=sources[0].ended)
        model.decoder.absorb(new, memory)
        for row, (source, held) in enumerate(zip(sources, model.encoder.split_state(state, len(sources)))):
            source.state, source.computed = held, held.frames
            source.frames += len(new)
            if source._keep:
                source.kept.append(new[:, row : row + 1])

    def from_frame(self, frame: int) -> np.ndarray:
        """The features heard from a frame on, [T, M]."""
        return np.concatenate([*self._past, *self._features])[frame * FEATURES_PER_FRAME :]
