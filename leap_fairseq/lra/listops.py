"""ListOps as a data set: which of the drawn lists are taken, and what they are like.

The grammar gives the values 0 and 9 twice as often as the others. Balanced, every split has each label equally often:
lists are drawn until the labels' quotas are full, so that among the lists of one label those of the grammar keep their
proportions. No list is there twice, within a split or across splits.
"""

import functools
import itertools
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import numpy as np

from leap_fairseq.files import DataError
from leap_fairseq.lra import SPLITS, LraFacts
from leap_fairseq.lra.data_set import REPORT, Writer, write_data_set, write_json
from leap_fairseq.lra.division import check_sizes, shuffled
from leap_fairseq.lra.listops_grammar import VOCABULARY, Grower, Limits, ListExpression
from leap_fairseq.prepare.choices import Choices
from leap_fairseq.prepare.processes import in_order

PUBLISHED_SIZES = {"train": 96_000, "valid": 2_000, "test": 2_000}
SMALL_SIZES = {"train": 3_000, "valid": 300, "test": 300}
SMALL_LENGTHS = (50, 200)
LABELS = range(10)
DISTRIBUTIONS = ("balanced", "drawn")

DRAWS_PER_BLOCK = 4_000
"""Lists drawn from one seed by one process; a twelfth of them have the published lengths."""

PATIENCE = 50
"""Blocks in a row with nothing new, after which the lists wanted cannot be found."""


def prep_listops(
    out: Union[str, Path],
    sizes: Dict[str, int],
    limits: Limits,
    labels: str = "balanced",
    seed: int = 1,
    processes: int = 1,
) -> LraFacts:
    """Makes the data set, or finds it done; report.json there tells lengths, depths and labels.

    Args:
        out: Folder for it.
        sizes: Number of lists of train, valid and test.
        limits: Lengths, depth and arguments.
        labels: As the command's, like seed and processes.

    Raises:
        DataError: Impossible options, or the grammar has not enough such lists.
    """
    check_sizes(sizes)
    _check_limits(limits)
    if labels not in DISTRIBUTIONS:
        raise DataError(f"--labels is {labels!r}, but must be one of {', '.join(DISTRIBUTIONS)}")
    facts = LraFacts("listops", len(VOCABULARY), len(LABELS), limits.max_length)
    options = {"sizes": sizes, "labels": labels, "seed": seed, "vocabulary": list(VOCABULARY), **limits._asdict()}

    def make(writer: Writer) -> None:
        selection = Selection(sizes, labels)
        seeds = itertools.count(seed * 10_000_000)
        for drawn in in_order(functools.partial(draw_block, limits), seeds, processes):
            if selection.take(drawn):
                break
        write_lists(writer, selection.in_new_order(Choices(seed)))

    return write_data_set(out, facts, options, make, [REPORT])


def _check_limits(limits: Limits) -> None:
    if not 0 <= limits.min_length < limits.max_length - 1:
        given = f"--lengths {limits.min_length} {limits.max_length}"
        rule = "lists are longer than the first, shorter than the second"
        raise DataError(f"{given} leave no length between them: {rule}")
    if limits.max_depth < 2 or limits.max_args < 2:
        given = f"--max-depth {limits.max_depth} and --max-args {limits.max_args}"
        raise DataError(f"{given} must both be 2 or more")


def draw_block(limits: Limits, seed: int) -> List[ListExpression]:
    """Draws DRAWS_PER_BLOCK lists and returns those of the wanted lengths."""
    grower = Grower(Choices(seed), limits)
    return [found for found in (grower.draw() for _ in range(DRAWS_PER_BLOCK)) if found is not None]


class Selection:
    """Divides what is drawn: each list goes to the first split that still wants its label.

    Args:
        sizes: Number of lists of each split.
        labels: balanced or drawn.
    """

    def __init__(self, sizes: Dict[str, int], labels: str):
        self.splits: Dict[str, List[ListExpression]] = {split: [] for split in sizes}
        self._wanted = {split: self._quota(size, labels) for split, size in sizes.items()}
        self._sizes, self._seen, self._in_vain = sizes, set(), 0

    @staticmethod
    def _quota(size: int, labels: str) -> Counter:
        if labels == "drawn":
            return Counter({label: size for label in LABELS})
        return Counter({label: size // 10 + (label < size % 10) for label in LABELS})

    def take(self, drawn: List[ListExpression]) -> bool:
        """Takes what is new and wanted; True once every split is full.

        Raises:
            DataError: For long nothing new was wanted.
        """
        before = len(self._seen)
        for found in drawn:
            split = self._split_for(found)
            if split is not None:
                self.splits[split].append(found)
                self._wanted[split][found.label] -= 1
                self._seen.add(found.tokens)
        self._in_vain = 0 if len(self._seen) > before else self._in_vain + 1
        if self._in_vain >= PATIENCE:
            missing = {split: size - len(self.splits[split]) for split, size in self._sizes.items()}
            rule = f"{PATIENCE * DRAWS_PER_BLOCK:,} draws found no further list of that kind"
            raise DataError(f"{missing} lists are missing, but {rule}: ask for fewer (--sizes) or other --lengths")
        return all(len(lists) == self._sizes[split] for split, lists in self.splits.items())

    def _split_for(self, found: ListExpression) -> Optional[str]:
        if found.tokens in self._seen:
            return None
        for split, lists in self.splits.items():
            if len(lists) < self._sizes[split] and self._wanted[split][found.label] > 0:
                return split
        return None

    def in_new_order(self, choices: Choices) -> Dict[str, List[ListExpression]]:
        """The lists of each split, mixed: the last drawn are of the rare labels alone."""
        return {split: shuffled(lists, choices) for split, lists in self.splits.items()}


def write_lists(writer: Writer, splits: Dict[str, List[ListExpression]]) -> None:
    """Adds the lists, and the report beside them."""
    for split, lists in splits.items():
        for found in lists:
            writer.add(split, found.label, np.frombuffer(found.tokens, np.uint8))
    write_json(writer.folder / REPORT, {split: describe(lists) for split, lists in splits.items()})


def describe(lists: List[ListExpression]) -> Dict[str, Any]:
    """Lengths, depths and labels of lists, as plain data."""
    lengths = np.array([len(found.tokens) for found in lists])
    quantiles = np.percentile(lengths, [0, 25, 50, 75, 100]).round().astype(int).tolist()
    depths, labels = Counter(found.depth for found in lists), Counter(found.label for found in lists)
    return {
        "lists": len(lists),
        "lengths": {"mean": round(float(lengths.mean()), 1), "quartiles": quantiles},
        "depths": {str(depth): depths[depth] for depth in sorted(depths)},
        "labels": {str(label): labels[label] for label in LABELS},
    }


def table(report: Dict[str, Dict[str, Any]]) -> str:
    """The report in a few lines, without a final line feed."""
    rows = [f"{'split':<6}{'lists':>8}{'length':>8}{'min':>6}{'median':>8}{'max':>6}{'depth':>7}  labels 0 to 9, %"]
    for split in SPLITS:
        of_split = report[split]
        low, _, middle, _, high = of_split["lengths"]["quartiles"]
        depth = sum(int(depth) * count for depth, count in of_split["depths"].items()) / of_split["lists"]
        shares = " ".join(f"{100 * count / of_split['lists']:.1f}" for count in of_split["labels"].values())
        sizes = f"{of_split['lists']:>8,}{of_split['lengths']['mean']:>8}{low:>6}{middle:>8}{high:>6}{depth:>7.1f}"
        rows.append(f"{split:<6}{sizes}  {shares}")
    return "\n".join(rows)
