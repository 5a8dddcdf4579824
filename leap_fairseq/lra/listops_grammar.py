"""The grammar of Long-Range Arena's ListOps: random nested lists of digits, and their value.

    E -> digit  |  [MIN E E ... ]  |  [MAX ... ]  |  [MED ... ]  |  [SM ... ]

A node is an operator with probability 0.25, and a digit below that or at the greatest depth; operators have 2 to
max_args arguments, everything else is drawn uniformly. MED of an even number is the mean of the middle two without its
fraction, SM the sum modulo 10. Lengths count operators, digits and closing brackets.
Source: google-research/long-range-arena, lra_benchmarks/data/listops.py, and issues 6 and 14 (brackets are tokens);
Nangia and Bowman 2018.
"""

from typing import Callable, Dict, List, NamedTuple, Optional

from leap_fairseq.prepare.choices import Choices

OPERATOR_PROBABILITY = 0.25

VOCABULARY = ("<pad>", *"0123456789", "]", "[MIN", "[MAX", "[MED", "[SM", "[FIRST", "[LAST")
"""Token i is its position; the last two occur only in the lists of Nangia and Bowman."""

CODES: Dict[str, int] = {text: code for code, text in enumerate(VOCABULARY)}
DIGIT, END = CODES["0"], CODES["]"]


def median(values: List[int]) -> int:
    """The middle value; of an even number of values the mean of the middle two, without its fraction."""
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) // 2


OPERATORS: Dict[int, Callable[[List[int]], int]] = {
    CODES["[MIN"]: min,
    CODES["[MAX"]: max,
    CODES["[MED"]: median,
    CODES["[SM"]: lambda values: sum(values) % 10,
}
OPERATOR_CODES = tuple(OPERATORS)


class Limits(NamedTuple):
    """Which lists are wanted.

    Attributes:
        min_length: Tokens; wanted lists are longer.
        max_length: Tokens; wanted lists are shorter.
        max_depth: A node at this depth is a digit (the root has depth 1), so operators nest one less deeply.
        max_args: Of one operator.
    """

    min_length: int = 500
    max_length: int = 2000
    max_depth: int = 10
    max_args: int = 10


class ListExpression(NamedTuple):
    """A nested list.

    Attributes:
        tokens: Positions in VOCABULARY.
        label: Its value, 0 to 9.
        depth: How deeply operators are nested; 0 for a digit alone.
    """

    tokens: bytes
    label: int
    depth: int


class _TooLong(Exception):
    """The list that is being drawn has reached the limit."""


class Grower:
    """Draws nested lists.

    Args:
        choices: Where the chances come from.
        limits: Which lists are wanted.
    """

    def __init__(self, choices: Choices, limits: Limits):
        self._choices, self._limits = choices, limits
        self._numbers_of_args = range(2, limits.max_args + 1)
        self._tokens: List[int] = []
        self._depth = 0

    def draw(self) -> Optional[ListExpression]:
        """One list of the grammar, or None where its length is not wanted."""
        self._tokens, self._depth = [], 0
        try:
            label = self._node(1)
        except _TooLong:
            return None
        if len(self._tokens) <= self._limits.min_length or len(self._tokens) >= self._limits.max_length:
            return None
        return ListExpression(bytes(self._tokens), label, self._depth)

    def _node(self, depth: int) -> int:
        """Appends a node's tokens and returns its value."""
        choices, tokens = self._choices, self._tokens
        if depth >= self._limits.max_depth or choices.between(0.0, 1.0) > OPERATOR_PROBABILITY:
            digit = choices.pick(range(10))
            tokens.append(DIGIT + digit)
            return digit
        if len(tokens) >= self._limits.max_length:
            raise _TooLong
        self._depth = max(self._depth, depth)
        operator = choices.pick(OPERATOR_CODES)
        tokens.append(operator)
        values = [self._node(depth + 1) for _ in range(choices.pick(self._numbers_of_args))]
        tokens.append(END)
        return OPERATORS[operator](values)
