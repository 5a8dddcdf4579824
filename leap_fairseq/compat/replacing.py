"""How a function of fairseq is replaced: once, everywhere it is known by name, and so that it can be undone."""

import contextlib
import functools
import logging
from typing import Any, Callable, Iterator, Optional, Sequence

_MARK = "__leap_fairseq_original__"


def original(function: Callable) -> Callable:
    """The function as fairseq wrote it, whether or not it has been replaced."""
    return getattr(function, _MARK, function)


def replace(
    owners: Sequence[Any],
    name: str,
    build: Callable[[Callable], Callable],
    symptom: Optional[Callable[[Callable], bool]] = None,
) -> None:
    """Replaces the function `name` of each owner by ``build(original)``, unless it is sound or was replaced before.

    The mark is an attribute of the replacement, not a flag of this module: it survives a reload of the package.

    Args:
        owners: modules or classes that hold the function. A module that did ``from a import f as g`` holds its own
            copy and is given as a pair (module, "g").
        name: attribute name in every owner that is not a pair.
        build: gets the original function and returns the one that takes its place.
        symptom: tries the original function and tells whether it fails, without a lasting effect; None replaces any.
    """
    places = [owner if isinstance(owner, tuple) else (owner, name) for owner in owners]
    first_owner, first_name = places[0]
    current = getattr(first_owner, first_name)
    if hasattr(current, _MARK):
        replacement = current
    elif symptom is None or symptom(current):
        replacement = functools.wraps(current)(build(current))
        setattr(replacement, _MARK, current)
    else:
        return
    for owner, attribute in places:
        setattr(owner, attribute, replacement)


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """Within it, a logger says nothing: what a trial of a symptom does is no news."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
