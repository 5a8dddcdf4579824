"""Which examples are held out of training: drawn class by class, so that every split has the same proportions."""

from typing import Dict, List, Sequence, TypeVar

from leap_fairseq.files import DataError
from leap_fairseq.prepare.choices import Choices

T = TypeVar("T")


def shuffled(items: Sequence[T], choices: Choices) -> List[T]:
    """The items in another order, every order as likely as the others."""
    items = list(items)
    for last in range(len(items) - 1, 0, -1):
        other = choices.pick(range(last + 1))
        items[last], items[other] = items[other], items[last]
    return items


def divide(labels: Sequence[int], fractions: Sequence[float], seed: int) -> List[List[int]]:
    """Divides examples at random, each class alike.

    Args:
        labels: Of all examples.
        fractions: Of what each part but the first gets, of each class, at least one example where it is above 0.
        seed: Another seed divides otherwise.

    Returns:
        Positions of each part, in a random order: first what is left, then one part for each fraction.

    Raises:
        DataError: A fraction below 0, or together they leave nothing of a class.
    """
    if not (all(fraction >= 0 for fraction in fractions) and sum(fractions) < 1):  # nan is refused, too
        given = ", ".join(f"{fraction:g}" for fraction in fractions)
        raise DataError(f"what is held out (--valid, --test) is {given}, but must be 0 or more and together below 1")
    choices, parts = Choices(seed), [[] for _ in range(len(fractions) + 1)]
    for label in sorted(set(labels)):
        of_label = shuffled([position for position, other in enumerate(labels) if other == label], choices)
        for part, fraction in zip(parts[1:], fractions):
            count = max(round(fraction * labels.count(label)), int(fraction > 0))
            part += of_label[:count]
            of_label = of_label[count:]
        if not of_label:
            remedy = "give more, or hold out less (--valid, --test)"
            raise DataError(f"class {label} has too few examples to be in every split: {remedy}")
        parts[0] += of_label
    return [shuffled(part, choices) for part in parts]


def check_sizes(sizes: Dict[str, int]) -> None:
    """Refuses a split without examples, with a DataError."""
    for split, size in sizes.items():
        if size < 1:
            raise DataError(f"--sizes gives {split} {size} examples, but every split needs 1 or more")
