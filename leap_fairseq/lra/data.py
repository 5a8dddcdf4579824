"""Reads one task of Long-Range Arena from a folder, without copying it into memory.

lra.json holds the facts. A split is the tokens of all its examples one after the other, where each begins and ends, and
the labels; a pair of documents has tokens and offsets twice. It is checked when it is opened, so that a torn copy
does not become an index error in the middle of a training.
Legend: N examples, V vocabulary, C classes.
"""

import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple, Union

import numpy as np

from leap_fairseq.files import DataError

FACTS = "lra.json"
PADDING = 0
"""No token of an example has this value: it is free to fill up batches."""

SPLITS = ("train", "valid", "test")
TASKS = ("listops", "text", "retrieval", "image", "pathfinder")
REMEDY = f"delete {FACTS}, and make the data again with leap-fairseq prepare lra"
"""Without the facts, what else is there is not taken for complete."""

CHECKED_AT_ONCE = 2**24
"""Tokens; what the check of a split holds in memory at a time."""

Tokens = Union[np.ndarray, Tuple[np.ndarray, np.ndarray]]
"""One sequence, or the two of a pair: unsigned integers [length] from 1 to V - 1, which must not be written to."""


class LraFacts(NamedTuple):
    """What lra.json says about a data set; before it is made, all but the last two.

    Attributes:
        task: One of TASKS.
        vocab_size: V, padding included.
        num_classes: C; labels are 0 to C - 1.
        max_length: No sequence has more tokens.
        pairs: Whether an example is two sequences.
        splits: Number of examples of train, valid and test.
        options: From what it was made; for people, and for `prepare lra` itself.
    """

    task: str
    vocab_size: int
    num_classes: int
    max_length: int
    pairs: bool = False
    splits: Dict[str, int] = {}
    options: Dict[str, Any] = {}

    @property
    def sides(self) -> Tuple[str, ...]:
        """What the names of tokens and offsets end in, one for each sequence of an example."""
        return ("", "2") if self.pairs else ("",)

    @property
    def dtype(self) -> str:
        """The smallest type that holds every token."""
        return "uint8" if self.vocab_size <= 256 else "uint16"

    def files(self) -> List[str]:
        """Names of all arrays."""
        parts = ["labels", *(f"{part}{side}" for side in self.sides for part in ("tokens", "offsets"))]
        return [f"{split}.{part}.npy" for split in SPLITS for part in parts]


def read_facts(folder: Union[str, Path]) -> LraFacts:
    """Reads lra.json.

    Args:
        folder: What `prepare lra` was given as --out.

    Raises:
        DataError: It is missing (it is written last), no JSON, or lacks or contradicts something.
    """
    path = Path(folder) / FACTS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        rule = f"without it {folder} is no data of Long-Range Arena"
        raise DataError(f"{path} is missing, and {rule}: make it with leap-fairseq prepare lra") from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {REMEDY} ({error})") from error
    missing = [name for name in LraFacts._fields if not isinstance(found, dict) or name not in found]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}: {REMEDY}")
    facts = LraFacts(*(found[name] for name in LraFacts._fields))
    _check_facts(facts, path)
    return facts


def _check_facts(facts: LraFacts, path: Path) -> None:
    if facts.task not in TASKS:
        raise DataError(f"{path} names the task {facts.task!r}, but must name one of {', '.join(TASKS)}: {REMEDY}")
    for name, least in (("vocab_size", 2), ("num_classes", 2), ("max_length", 1)):
        value = getattr(facts, name)
        if not _is_count(value) or value < least:
            raise DataError(f"{path}: {name} is {value!r}, but must be a whole number of at least {least}: {REMEDY}")
    if not isinstance(facts.pairs, bool):
        raise DataError(f"{path}: pairs is {facts.pairs!r}, but must be true or false: {REMEDY}")
    splits = facts.splits
    if not isinstance(splits, dict) or sorted(splits) != sorted(SPLITS) or not all(map(_is_count, splits.values())):
        rule = f"must give the number of examples of each of {', '.join(SPLITS)}"
        raise DataError(f"{path}: splits is {splits!r}, but {rule}: {REMEDY}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


class LraSplit:
    """One split, mapped into memory; `split[i]` gives the tokens of example i, or the pair of them, and its label.

    Args:
        folder: What `prepare lra` was given as --out.
        split: train, valid or test.

    Attributes:
        facts: Of the data set.
        split: The name.
        labels: int64 [N] from 0 to C - 1.
        lengths: int64 [N], tokens of each example; of a pair, of the longer sequence, which is what a batch pays for.

    Raises:
        DataError: There is no such split, or a file of it is missing, breaks off, or contradicts another.
    """

    def __init__(self, folder: Union[str, Path], split: str):
        if split not in SPLITS:
            raise DataError(f"there is no split {split!r}: choose one of {', '.join(SPLITS)}")
        self.folder, self.split = Path(folder), split
        self.facts = read_facts(folder)
        self.labels = self._load("labels")
        self._check_labels()
        self._sides = tuple((self._load(f"tokens{side}"), self._load(f"offsets{side}")) for side in self.facts.sides)
        for side, (tokens, offsets) in zip(self.facts.sides, self._sides):
            self._check_offsets(offsets, tokens, side)
            self._check_tokens(tokens, side)
        self.lengths = np.max([np.diff(offsets) for _, offsets in self._sides], axis=0)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Tuple[Tokens, int]:
        index = range(len(self))[index]
        sequences = tuple(tokens[offsets[index] : offsets[index + 1]] for tokens, offsets in self._sides)
        return (sequences if self.facts.pairs else sequences[0]), int(self.labels[index])

    def __reduce__(self) -> Tuple[type, Tuple[Path, str]]:
        # A worker process opens the files itself: a mapped array would be pickled with all that it maps.
        return LraSplit, (self.folder, self.split)

    def path(self, part: str) -> Path:
        """The file of a part: tokens, offsets, labels, tokens2 or offsets2."""
        return self.folder / f"{self.split}.{part}.npy"

    def _load(self, part: str) -> np.ndarray:
        path = self.path(part)
        try:
            # Plain arrays, mapped: the files' headers are read, and nothing in them can run code.
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing: {REMEDY}, or copy all of it") from error
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} is damaged or breaks off: {REMEDY}, or copy it again ({error})") from error
        kinds = ("uint8", "uint16") if part.startswith("tokens") else ("int64",)
        if array.ndim != 1 or array.dtype.name not in kinds:
            given = f"{array.dtype} {list(array.shape)}"
            raise DataError(f"{path} is {given}, but must be {' or '.join(kinds)} in one dimension: {REMEDY}")
        return array

    def _check_labels(self) -> None:
        path, count, classes = self.path("labels"), self.facts.splits[self.split], self.facts.num_classes
        if len(self.labels) != count:
            raise DataError(f"{path} has {len(self.labels)} labels, but {FACTS} says {count}: {REMEDY}")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= classes:
            raise DataError(f"{path} has labels from {low} to {high}, but must have 0 to {classes - 1}: {REMEDY}")

    def _check_offsets(self, offsets: np.ndarray, tokens: np.ndarray, side: str) -> None:
        path = self.path(f"offsets{side}")
        if len(offsets) != len(self) + 1:
            raise DataError(f"{path} has {len(offsets)} offsets, but {len(self)} examples need one more: {REMEDY}")
        if offsets[0] != 0 or offsets[-1] != len(tokens):
            given = f"go from {offsets[0]} to {offsets[-1]}"
            raise DataError(f"the offsets in {path} {given}, but must go from 0 to {len(tokens)}: {REMEDY}")
        lengths = np.diff(offsets)
        if lengths.min() < 1 or lengths.max() > self.facts.max_length:
            given, rule = f"lengths from {lengths.min()} to {lengths.max()}", f"1 to {self.facts.max_length}"
            raise DataError(f"the offsets in {path} make {given}, but must make {rule}: {REMEDY}")

    def _check_tokens(self, tokens: np.ndarray, side: str) -> None:
        for start in range(0, len(tokens), CHECKED_AT_ONCE):
            part = tokens[start : start + CHECKED_AT_ONCE]
            low, high = int(part.min()), int(part.max())
            if low <= PADDING or high >= self.facts.vocab_size:
                given, rule = f"tokens from {low} to {high}", f"1 to {self.facts.vocab_size - 1}"
                raise DataError(f"{self.path(f'tokens{side}')} has {given}, but must have {rule}: {REMEDY}")
