"""When the next token of a stream may be written: all that translators, agents and batches of streams know of a policy.

A policy is an object of its own. Which one a model was trained for, the model says (``model.policy``); what a user may
choose of it, a table of options does, which every command line adds to its own.
"""

from abc import ABC, abstractmethod
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any, Dict, Mapping, NamedTuple, Optional, Protocol, Sequence


class Candidate(NamedTuple):
    """A token that the model would write next, before it is decided whether to.

    Attributes:
        token: its index in the dictionary.
        probability: of it; None where the policy has decided before.
        newest: share of the newest frames in the weights of its cross-attentions, the mean of all heads; None where the
            policy does not read it.
    """

    token: int
    probability: Optional[float] = None
    newest: Optional[float] = None


class Hypothesis(Protocol):
    """What a policy may look at.

    Attributes:
        tokens: written so far, of the sentence.
        frames: encoder frames of the sentence that have been read.
        refused: tokens that were drafted behind these from fewer frames, and not written.
    """

    tokens: Sequence[int]
    frames: int
    refused: Sequence[int]


class Policy(ABC):
    """A read/write policy of simultaneous translation.

    It decides before a token is computed, by what must have been read (:meth:`required_frames`), or also afterwards, by
    what the model would write (:meth:`accepted`). Where the speech has ended, all is written that remains.

    Attributes:
        draft_tokens: how many next tokens :meth:`accepted` looks at, at most; 0: it is not asked.
        reads_attention: whether it looks at their cross-attention (:attr:`Candidate.newest`).
    """

    draft_tokens: int = 0
    reads_attention: bool = False

    @abstractmethod
    def required_frames(self, hypothesis: Hypothesis) -> int:
        """Encoder frames, from the beginning of the sentence, that must have been read before its next token.

        The token sees exactly these, or all there are where the speech ends before; more, if it was drafted from these
        and not accepted.

        Args:
            hypothesis: so far. The count must not decrease as it grows.
        """

    def accepted(self, hypothesis: Hypothesis, draft: Sequence[Candidate]) -> int:
        """How many of the next tokens are written; the others are drafted anew a decision later.

        Args:
            hypothesis: so far.
            draft: what the model would go on with from the frames read, ``draft_tokens`` of them or fewer, the last of
                which ends the sentence.
        """
        return len(draft)

    @property
    @abstractmethod
    def decision_frames(self) -> int:
        """Encoder frames between two decisions."""

    @abstractmethod
    def __str__(self) -> str:
        """Its name with its options, such as wait-5."""

    def described(self) -> Dict[str, Any]:
        """What it is, for tables: its name under "policy", and its options by name."""
        return {"policy": str(self)}

    def configured(self, **options: Any) -> "Policy":
        """This policy with other options.

        Args:
            options: by name; None leaves one as it is.

        Raises:
            ValueError: an option that it does not have, or a value that cannot be.
        """
        given = [name for name, value in options.items() if value is not None]
        if given:
            flags = ", ".join(flag(name) for name in given)
            raise ValueError(f"the policy of this model is {self}, which has no {flags}: leave it out")
        return self


def at_least_one(text: str) -> int:
    """A number of the command line, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} must be a number of at least 1")
    return int(text)


def share(text: str) -> float:
    """A number of the command line in [0, 1]."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r} must be a number in [0, 1]")
    return value


NAMES = ("wait-k", "confidence", "attention", "agreement", "hold")
"""Of the policies in :data:`leap_fairseq.streaming.policies.POLICIES`, whose import needs torch."""

OPTIONS: Dict[str, Dict[str, Any]] = {
    "policy": {"choices": NAMES, "help": "when a token is written (default: wait-k)"},
    "waitk_lagging": {
        "type": at_least_one,
        "metavar": "K",
        "help": "k of wait-k (default: the middle one of training)",
    },
    "min_lagging": {
        "type": at_least_one,
        "metavar": "K",
        "help": "of the other policies: write nothing before wait-K (default: the lowest of training)",
    },
    "max_lagging": {
        "type": at_least_one,
        "metavar": "K",
        "help": "of the other policies: let nothing wait beyond wait-K (default: the highest of training)",
    },
    "threshold": {
        "type": share,
        "metavar": "P",
        "help": "of confidence: probability of a token, at least (default: 0.9); of attention: share of the newest "
        "frames in its weights, at most (default: 0.05)",
    },
    "hold_tokens": {
        "type": at_least_one,
        "metavar": "N",
        "help": "of hold: tokens of a draft that are held back (default: 3)",
    },
}
"""Options of all policies, by name, as argparse takes them."""


def add_policy_options(parser: ArgumentParser, prefix: str = "", several: bool = False) -> None:
    """Adds the options of all policies to a command line.

    Args:
        parser: of the command.
        prefix: of their names, such as "test-".
        several: each may have several values, but for the policy itself.
    """
    for name, settings in OPTIONS.items():
        more = {"nargs": "+"} if several and name != "policy" else {}
        parser.add_argument(flag(name, prefix), dest=name, **settings, **more)


def flag(name: str, prefix: str = "") -> str:
    """What an option is called on a command line."""
    return f"--{prefix}{name.replace('_', '-')}"


def add_gate_option(parser: ArgumentParser) -> None:
    """Adds the option of :mod:`leap_fairseq.streaming.speech_gate` to a command line."""
    text = "translate silence, too (default: words wait until there is speech)"
    parser.add_argument("--no-speech-gate", dest="speech_gate", action="store_false", help=text)


def policy_options(options: Namespace) -> Dict[str, Any]:
    """What a command line says of the policy, for :meth:`Policy.configured`."""
    return {name: getattr(options, name) for name in OPTIONS}


def read_options(given: Mapping[str, Any], origin: str) -> Dict[str, Any]:
    """Options of policies that came as plain values, read as on a command line, for :meth:`Policy.configured`.

    Args:
        given: by name, numbers or texts; None for one that is not given.
        origin: where they are from, for messages, such as "of the YAML".

    Raises:
        ValueError: an option that there is not, or a value that cannot be.
    """
    read: Dict[str, Any] = {}
    for name, value in given.items():
        if name not in OPTIONS:
            raise ValueError(f"there is no option {name!r:.60} of a policy: choose from {', '.join(OPTIONS)}")
        if value is None:
            continue
        rules, refused = OPTIONS[name], f"{name} {origin} is {value!r:.60}"
        if type(value) not in (int, float, str):
            raise ValueError(f"{refused}, but must be a number or a text")
        try:
            read[name] = rules.get("type", str)(str(value))
        except (ArgumentTypeError, ValueError) as error:
            raise ValueError(f"{refused}: {error}") from None
        if read[name] not in rules.get("choices", [read[name]]):
            raise ValueError(f"{refused}, but must be one of {', '.join(map(str, rules['choices']))}")
    return read
