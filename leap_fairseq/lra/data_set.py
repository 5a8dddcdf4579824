"""Writes the data set of one task: files that `leap_fairseq.lra` reads, all of them or none.

Examples go to disk as they come, into a hidden folder; the finished set is opened by its own reader before it takes
its place, so what is published can be read. The same options find it done.
"""

import functools
import json
import logging
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np

from leap_fairseq.files import DataError, Stages, whole_file
from leap_fairseq.lra import FACTS, SPLITS, LraFacts, LraSplit, read_facts
from leap_fairseq.prepare.publishing import make_and_publish

logger = logging.getLogger(__name__)

VERSION = 1
"""Raise it with every change that changes what is written: prepared data is then made again."""

NAME = "prep_lra"
REPORT = "report.json"

HEADER_BYTES = 128
"""Of a .npy file: room for the number of tokens, which is known only after the last of them."""


class Kind(NamedTuple):
    """What all examples of a task have in common.

    Attributes:
        task: One of `leap_fairseq.lra.TASKS`.
        vocab_size: With padding (0).
        num_classes: Labels are below it.
        max_length: Tokens of the longest sequence allowed.
        pairs: Whether an example is two sequences.
    """

    task: str
    vocab_size: int
    num_classes: int
    max_length: int
    pairs: bool = False

    @property
    def dtype(self) -> str:
        """The smallest type that holds every token."""
        return "uint8" if self.vocab_size <= 256 else "uint16"

    def parts(self) -> Tuple[str, ...]:
        """Names of what each split has a file of."""
        return ("tokens", "offsets", "labels") + (("tokens2", "offsets2") if self.pairs else ())

    def files(self) -> List[str]:
        """Names of all arrays."""
        return [f"{split}.{part}.npy" for split in SPLITS for part in self.parts()]


class Writer:
    """Takes the examples of all splits, in any order of the splits.

    Args:
        folder: Gets the files.
        kind: Of the task.
    """

    def __init__(self, folder: Path, kind: Kind):
        self.folder, self._kind = folder, kind
        self._labels: Dict[str, List[int]] = {split: [] for split in SPLITS}
        self._sides = ("", "2") if kind.pairs else ("",)
        self._offsets: Dict[str, List[int]] = {f"{split}.{side}": [0] for split in SPLITS for side in self._sides}
        self._files: Dict[str, IO[bytes]] = {}

    def __enter__(self) -> "Writer":
        for split in SPLITS:
            for side in self._sides:
                file = open(self.folder / f"{split}.tokens{side}.npy", "wb")
                file.write(bytes(HEADER_BYTES))
                self._files[f"{split}.{side}"] = file
        return self

    def __exit__(self, *exception: Any) -> None:
        for file in self._files.values():
            file.close()

    def add(self, split: str, label: int, *sequences: np.ndarray) -> None:
        """Adds an example.

        Args:
            split: train, valid or test.
            label: From 0.
            sequences: One, or the two of a pair: tokens [length], none of them 0.
        """
        self._labels[split].append(label)
        for side, sequence in zip(self._sides, sequences):
            key = f"{split}.{side}"
            self._files[key].write(np.ascontiguousarray(sequence, dtype=self._kind.dtype).tobytes())
            self._offsets[key].append(self._offsets[key][-1] + len(sequence))

    def finish(self, options: Dict[str, Any]) -> None:
        """Completes the files and writes lra.json.

        Raises:
            DataError: A split has no example.
        """
        for split, labels in self._labels.items():
            if not labels:
                raise DataError(f"{split} would have no examples: give more data, or another division into splits")
            np.save(self.folder / f"{split}.labels.npy", np.array(labels, np.int64))
            for side in self._sides:
                offsets, file = self._offsets[f"{split}.{side}"], self._files[f"{split}.{side}"]
                file.seek(0)
                file.write(npy_header(self._kind.dtype, offsets[-1]))
                file.close()
                np.save(self.folder / f"{split}.offsets{side}.npy", np.array(offsets, np.int64))
        counts = {split: len(labels) for split, labels in self._labels.items()}
        write_json(self.folder / FACTS, {**self._kind._asdict(), "splits": counts, "options": options})


def npy_header(dtype: str, count: int) -> bytes:
    """The header of a .npy file (format 1.0) of a vector, HEADER_BYTES long."""
    text = f"{{'descr': '{np.dtype(dtype).newbyteorder('<').str}', 'fortran_order': False, 'shape': ({count},), }}"
    length = HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1).encode("ascii") + b"\n"


def write_json(path: Path, value: Any) -> None:
    """Writes plain data, readable by people."""
    with whole_file(path, text=True) as file:
        file.write(json.dumps(value, indent=1, sort_keys=True) + "\n")


def write_data_set(
    out: Union[str, Path],
    kind: Kind,
    options: Dict[str, Any],
    make: Callable[[Writer], None],
    extra: Sequence[str] = (),
) -> LraFacts:
    """Makes a data set, or finds it done.

    Args:
        out: Its folder.
        kind: Of the task.
        options: Everything else that decides its bytes, as plain data.
        make: Adds the examples, and writes the extra files into the writer's folder.
        extra: Their names.

    Returns:
        The facts.

    Raises:
        DataError: The folder holds another task, or `make` raised one.
    """
    refuse_other_task(out, kind.task)
    stages = Stages(out, NAME)
    options = {"version": VERSION, **options}
    names = [*kind.files(), *extra]

    def build(folder: Path) -> None:
        with Writer(folder, kind) as writer:
            make(writer)
            writer.finish(options)
        for split in SPLITS:
            LraSplit(folder, split)

    publish = functools.partial(make_and_publish, stages, FACTS, names, build)
    stages.run("data_set", {"kind": kind._asdict(), **options}, [*names, FACTS], publish)
    facts = read_facts(out)
    counts = ", ".join(f"{split} {facts.splits[split]:,}" for split in SPLITS)
    logger.info("%s: %s; %d classes, up to %d tokens", kind.task, counts, facts.num_classes, facts.max_length)
    return facts


def refuse_other_task(out: Union[str, Path], task: str) -> None:
    """Refuses to write a task over another one, which would lose it.

    Raises:
        DataError: The folder holds another task, or an lra.json of somebody else.
    """
    if not (Path(out) / FACTS).exists():
        return
    found = read_facts(out).task
    if found != task:
        raise DataError(f"{out} holds the task {found}, not {task}: choose another --out, or delete it")
