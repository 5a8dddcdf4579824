"""The policies of a model that was trained for wait-k: wait-k itself, and four that look at what it would write.

All decide after every ``ratio`` encoder frames. The four read at least as much as wait-``low`` and at most as much as
wait-``high``, for which a model of every k in between needs no further training; what they keep beside its states has a
constant size, however long the stream.
"""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Dict, Mapping, Optional, Sequence, Tuple, Type

from leap_fairseq.attention import waitk_requirement
from leap_fairseq.streaming.policy import Candidate, Hypothesis, Policy


class TrainedPolicy(Policy):
    """A policy of a model that was trained for wait-k.

    Attributes:
        ratio: r, encoder frames of a decision.
        trained: the lowest and the highest k of training; None where it is not known.
        options: the name of each of its options on a command line, and here.
    """

    ratio: int
    trained: Optional[Tuple[int, int]]
    options: ClassVar[Mapping[str, str]]

    @classmethod
    @abstractmethod
    def of_training(cls, low: int, high: int, ratio: int) -> "TrainedPolicy":
        """This policy as it is without an option, for a model that was trained for k from low to high."""

    @property
    def decision_frames(self) -> int:
        """r."""
        return self.ratio

    def described(self) -> Dict[str, Any]:
        """See :meth:`Policy.described`; one that :data:`POLICIES` does not have is called as its class."""
        name = next((name for name, kind in POLICIES.items() if kind is type(self)), type(self).__name__)
        return {"policy": name, **{option: getattr(self, field) for option, field in self.options.items()}}

    def configured(self, *, policy: Optional[str] = None, **options: Any) -> "TrainedPolicy":
        """See :meth:`Policy.configured`.

        Args:
            policy: another one, by its name in :data:`POLICIES`.
            options: of the policy, as a command line calls them.
        """
        start = self
        if policy is not None and policy not in POLICIES:
            raise ValueError(f"unknown policy {policy!r}: choose --policy from {', '.join(POLICIES)}")
        if policy is not None and POLICIES[policy] is not type(self):
            if self.trained is None:
                raise ValueError(f"it is not known for which k the model of {self} was trained: leave --policy out")
            start = POLICIES[policy].of_training(*self.trained, self.ratio)
        Policy.configured(start, **{name: value for name, value in options.items() if name not in start.options})
        given = {name: options.get(name) for name in start.options}
        changes = {start.options[name]: value for name, value in given.items() if value is not None}
        return replace(start, **changes) if changes else start


@dataclass(frozen=True)
class WaitkPolicy(TrainedPolicy):
    """The token with index i is written from the first ``(i + k) * r`` encoder frames.

    Args:
        lagging: k, decisions read before the first token.
        ratio: r, encoder frames of a decision.
        trained: the lowest and the highest k of training, if it is known.

    Raises:
        ValueError: lagging or ratio is below 1.

    Source:
        Ma et al., STACL, ACL 2019; with decisions of several frames: Ma, Pino, Koehn, SimulMT to SimulST, AACL 2020.
    """

    lagging: int
    ratio: int
    trained: Optional[Tuple[int, int]] = None
    options = {"waitk_lagging": "lagging"}

    def __post_init__(self):
        waitk_requirement(0, self.lagging, self.ratio)

    @classmethod
    def of_training(cls, low: int, high: int, ratio: int) -> "WaitkPolicy":
        """With the k in the middle of the range, or the lower of two."""
        return cls((low + high) // 2, ratio, (low, high))

    def required_frames(self, hypothesis: Hypothesis) -> int:
        """See :meth:`Policy.required_frames`."""
        return waitk_requirement(len(hypothesis.tokens), self.lagging, self.ratio)

    def __str__(self) -> str:
        return f"wait-{self.lagging}"


@dataclass(frozen=True)
class AdaptivePolicy(TrainedPolicy):
    """Tokens are written that are wanted, between two wait-k.

    Args:
        low: k that nothing is written before.
        high: k that nothing waits beyond.
        ratio: r, encoder frames of a decision.
        trained: the lowest and the highest k of training, if it is known.

    Raises:
        ValueError: low or ratio is below 1, high below low, or an option out of its range.
    """

    low: int
    high: int
    ratio: int
    trained: Optional[Tuple[int, int]] = field(default=None, kw_only=True)
    options = {"min_lagging": "low", "max_lagging": "high"}

    def __post_init__(self):
        waitk_requirement(0, self.low, self.ratio)
        if self.high < self.low:
            raise ValueError(f"--max-lagging {self.high} must be at least --min-lagging, {self.low}")

    @classmethod
    def of_training(cls, low: int, high: int, ratio: int) -> "AdaptivePolicy":
        """Between the lowest and the highest k of training."""
        return cls(low, high, ratio, trained=(low, high))

    def required_frames(self, hypothesis: Hypothesis) -> int:
        """See :meth:`Policy.required_frames`."""
        return waitk_requirement(len(hypothesis.tokens), self.low, self.ratio)

    def lagging(self, hypothesis: Hypothesis) -> int:
        """k of the wait-k that would write the next token now."""
        return hypothesis.frames // self.ratio - len(hypothesis.tokens)

    def accepted(self, hypothesis: Hypothesis, draft: Sequence[Candidate]) -> int:
        """See :meth:`Policy.accepted`."""
        lagging = self.lagging(hypothesis)
        must, may = lagging - self.high + 1, lagging - self.low + 1
        return max(0, min(max(self.wanted(hypothesis, draft), must), may, len(draft)))

    @abstractmethod
    def wanted(self, hypothesis: Hypothesis, draft: Sequence[Candidate]) -> int:
        """How many tokens of the draft it would write if there were no bounds."""

    def __str__(self) -> str:
        name, _, _, *own = self.described().values()
        return " ".join([name, *(f"{value:g}" for value in own), f"between wait-{self.low} and wait-{self.high}"])


@dataclass(frozen=True)
class _ThresholdPolicy(AdaptivePolicy):
    """Looks at one token at a time, against a threshold."""

    threshold: float = 0.5
    draft_tokens = 1
    options = {**AdaptivePolicy.options, "threshold": "threshold"}

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"--threshold {self.threshold} must lie in [0, 1]")


@dataclass(frozen=True)
class ConfidencePolicy(_ThresholdPolicy):
    """A token is written when its probability reaches a threshold, which falls from ``low`` to 0 at ``high``.

    Args:
        low, high, ratio, trained: as for :class:`AdaptivePolicy`.
        threshold: at ``low``.

    Source:
        Zheng, Liu, Zheng, Ma, Liu, Huang, Simultaneous Translation Policies: From Fixed to Adaptive, ACL 2020; there
        with a model for each k.
    """

    threshold: float = 0.9

    def wanted(self, hypothesis: Hypothesis, draft: Sequence[Candidate]) -> int:
        """See :meth:`AdaptivePolicy.wanted`."""
        left = (self.high - self.lagging(hypothesis)) / max(1, self.high - self.low)
        return int(draft[0].probability >= self.threshold * left)


@dataclass(frozen=True)
class AttentionPolicy(_ThresholdPolicy):
    """A token is written when its cross-attention does not lie on the newest frames, those of the last decision.

    Args:
        low, high, ratio, trained: as for :class:`AdaptivePolicy`.
        threshold: share of the newest frames in its weights, at most.

    Source:
        After AlignAtt (Papi, Turchi, Negri, Interspeech 2023), which asks where the largest weight is. Linear attention
        does not keep weights; the share of the newest frames is the difference of two states.
    """

    threshold: float = 0.05
    reads_attention = True

    def wanted(self, hypothesis: Hypothesis, draft: Sequence[Candidate]) -> int:
        """See :meth:`AdaptivePolicy.wanted`."""
        newest = draft[0].newest
        return int(newest is not None and newest <= self.threshold)


@dataclass(frozen=True)
class AgreementPolicy(AdaptivePolicy):
    """Tokens are written that two drafts in a row begin with.

    Args:
        low, high, ratio, trained: as for :class:`AdaptivePolicy`.

    Source:
        Local agreement: Liu, Spanakis, Niehues, Low-Latency Sequence-to-Sequence Speech Recognition and Translation by
        Partial Hypothesis Selection, Interspeech 2020.
    """

    draft_tokens = 8

    def wanted(self, hypothesis: Hypothesis, draft: Sequence[Candidate]) -> int:
        """See :meth:`AdaptivePolicy.wanted`."""
        pairs = zip(draft, hypothesis.refused)
        differ = (number for number, (candidate, before) in enumerate(pairs) if candidate.token != before)
        return next(differ, min(len(draft), len(hypothesis.refused)))


@dataclass(frozen=True)
class HoldPolicy(AdaptivePolicy):
    """The tokens of a draft are written but the last ones; the token that ends the sentence counts as one.

    Args:
        low, high, ratio, trained: as for :class:`AdaptivePolicy`.
        hold: how many are held back, at least 1.

    Source:
        Hold-n: Liu, Spanakis, Niehues, Interspeech 2020, as for :class:`AgreementPolicy`.
    """

    hold: int = 3
    draft_tokens = 64
    options = {**AdaptivePolicy.options, "hold_tokens": "hold"}

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.hold < self.draft_tokens:
            raise ValueError(f"--hold-tokens {self.hold} must lie in [1, {self.draft_tokens - 1}]")

    def wanted(self, hypothesis: Hypothesis, draft: Sequence[Candidate]) -> int:
        """See :meth:`AdaptivePolicy.wanted`."""
        return len(draft) - self.hold


POLICIES: Dict[str, Type[TrainedPolicy]] = {
    "wait-k": WaitkPolicy,
    "confidence": ConfidencePolicy,
    "attention": AttentionPolicy,
    "agreement": AgreementPolicy,
    "hold": HoldPolicy,
}
"""By name."""
