"""Reads and evaluates ListOps from text, with a stack: independent of the grammar that makes them.

It reads Long-Range Arena's notation, `[MAX 4 3 [MIN 2 3 ] ]`, and the one of Nangia and Bowman 2018, which marks every
application of an operator to one more argument by parentheses, `( ( ( [MAX 4 ) 3 ) ] )`. The parentheses say nothing
that the brackets do not say, so they are skipped, once they are found to be balanced.
"""

import statistics
from typing import List

from leap_fairseq.files import DataError

NAMES = ("MIN", "MAX", "MED", "SM", "FIRST", "LAST")


def words_of(text: str) -> List[str]:
    """The tokens of an expression, parentheses left out.

    Raises:
        DataError: A parenthesis without its other half.
    """
    words = text.split()
    opened = 0
    for word in words:
        opened += (word == "(") - (word == ")")
        if opened < 0:
            break
    if opened:
        raise DataError(f"parentheses do not match in {shortened(text)}: fetch the file again")
    return [word for word in words if word not in ("(", ")")]


def evaluate(text: str) -> int:
    """The value of an expression.

    Args:
        text: In either notation, tokens between spaces.

    Returns:
        0 to 9.

    Raises:
        DataError: It is not one whole expression.
    """
    stack: List[List] = [[]]
    for word in words_of(text):
        if word == "]":
            if len(stack) == 1 or len(stack[-1]) == 1:
                raise DataError(f"a bracket closes nothing in {shortened(text)}: fetch the file again")
            name, *values = stack.pop()
            stack[-1].append(_apply(name, values))
        elif word[0] == "[" and word[1:] in NAMES:
            stack.append([word[1:]])
        elif word in tuple("0123456789"):
            stack[-1].append(int(word))
        else:
            rule = f"must be a digit, ] or [ with one of {', '.join(NAMES)}"
            raise DataError(f"{word!r} in {shortened(text)} {rule}: fetch the file again")
    if len(stack) > 1 or len(stack[0]) != 1:
        raise DataError(f"{shortened(text)} is not one whole expression: fetch the file again")
    return stack[0][0]


def _apply(name: str, values: List[int]) -> int:
    if name == "MIN":
        return sorted(values)[0]
    if name == "MAX":
        return sorted(values)[-1]
    if name == "FIRST":
        return values[0]
    if name == "LAST":
        return values[-1]
    if name == "SM":
        total = 0
        for value in values:
            total = (total + value) % 10
        return total
    # As int(numpy.median(values)) in both sources: the mean of the middle two loses its half.
    return int(statistics.median(values))


def shortened(text: str) -> str:
    """The text for an error message, at most 60 characters."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
