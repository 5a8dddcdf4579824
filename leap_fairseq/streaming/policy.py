"""When the next token of a stream may be written: all that translators, agents and batches of streams know of a policy.

A policy is an object of its own. Which one a model was trained for, the model says (``model.policy``); what a user may
choose of it, a table of options does, which every command line adds to its own.
"""

from abc import ABC, abstractmethod
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from typing import Any, Dict, Protocol, Sequence


class Hypothesis(Protocol):
    """What a policy may look at.

    Attributes:
        tokens: written so far, of the sentence.
    """

    tokens: Sequence[int]


class Policy(ABC):
    """A read/write policy of simultaneous translation."""

    @abstractmethod
    def required_frames(self, hypothesis: Hypothesis) -> int:
        """Encoder frames, from the beginning of the sentence, that must have been read before its next token.

        The token sees exactly these, or all there are where the speech ends before.

        Args:
            hypothesis: so far. The count must not decrease as it grows.
        """

    @property
    @abstractmethod
    def decision_frames(self) -> int:
        """Encoder frames between two decisions."""

    @abstractmethod
    def __str__(self) -> str:
        """Its name with its options, such as wait-5."""

    def configured(self, **options: Any) -> "Policy":
        """This policy with other options.

        Args:
            options: by name; None leaves one as it is.

        Raises:
            ValueError: an option that it does not have, or a value that cannot be.
        """
        given = [name for name, value in options.items() if value is not None]
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ValueError(f"the policy of this model is {self}, which has no {flags}: leave it out")
        return self


def at_least_one(text: str) -> int:
    """A number of the command line, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} must be a number of at least 1")
    return int(text)


OPTIONS: Dict[str, Dict[str, Any]] = {
    "waitk_lagging": {
        "type": at_least_one,
        "metavar": "K",
        "help": "k of wait-k (default: the middle one of training)",
    },
}
"""Options of all policies, by name, as argparse takes them."""


def add_policy_options(parser: ArgumentParser, prefix: str = "") -> None:
    """Adds the options of all policies to a command line.

    Args:
        parser: of the command.
        prefix: of their names, such as "test-".
    """
    for name, settings in OPTIONS.items():
        parser.add_argument(f"--{prefix}{name.replace('_', '-')}", dest=name, **settings)


def add_gate_option(parser: ArgumentParser) -> None:
    """Adds the option of :mod:`leap_fairseq.streaming.speech_gate` to a command line."""
    text = "translate silence, too (default: words wait until there is speech)"
    parser.add_argument("--no-speech-gate", dest="speech_gate", action="store_false", help=text)


def policy_options(options: Namespace) -> Dict[str, Any]:
    """What a command line says of the policy, for :meth:`Policy.configured`."""
    return {name: getattr(options, name) for name in OPTIONS}
