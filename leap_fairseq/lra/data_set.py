"""Writes the data set of one task: files that `leap_fairseq.lra` reads, all of them or none.

Examples go to disk as they come, into a hidden folder; the finished set is opened by its own reader before it takes
its place, so what is published can be read. The same options find it done.
"""

import functools
import itertools
import json
import logging
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Sequence, Tuple, Union

import numpy as np

from leap_fairseq.files import DataError, Stages, whole_file
from leap_fairseq.lra import FACTS, SPLITS, LraFacts, LraSplit, read_facts

logger = logging.getLogger(__name__)

VERSION = 1
"""Raise it with every change that changes what is written: prepared data is then made again."""

REPORT = "report.json"

HEADER_BYTES = 128
"""Of a .npy file: room for the number of tokens, which is known only after the last of them."""


class Writer:
    """Takes the examples of all splits, in any order of the splits.

    Args:
        folder: Gets the files.
        facts: Of the task.
    """

    def __init__(self, folder: Path, facts: LraFacts):
        self.folder, self._facts = folder, facts
        self._labels: Dict[str, List[int]] = {split: [] for split in SPLITS}
        self._offsets: Dict[Tuple[str, str], List[int]] = {key: [0] for key in itertools.product(SPLITS, facts.sides)}
        self._files: Dict[Tuple[str, str], IO[bytes]] = {}

    def __enter__(self) -> "Writer":
        for split, side in self._offsets:
            self._files[split, side] = open(self.folder / f"{split}.tokens{side}.npy", "wb")
            self._files[split, side].write(bytes(HEADER_BYTES))
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
        for side, sequence in zip(self._facts.sides, sequences):
            offsets = self._offsets[split, side]
            self._files[split, side].write(np.ascontiguousarray(sequence, dtype=self._facts.dtype).tobytes())
            offsets.append(offsets[-1] + len(sequence))

    def finish(self, options: Dict[str, Any]) -> None:
        """Completes the files and writes lra.json.

        Raises:
            DataError: A split has no example.
        """
        for split, labels in self._labels.items():
            if not labels:
                raise DataError(f"{split} would have no examples: give more data, or another division into splits")
            np.save(self.folder / f"{split}.labels.npy", np.array(labels, np.int64))
        for (split, side), offsets in self._offsets.items():
            file = self._files[split, side]
            file.seek(0)
            file.write(npy_header(self._facts.dtype, offsets[-1]))
            file.close()
            np.save(self.folder / f"{split}.offsets{side}.npy", np.array(offsets, np.int64))
        counts = {split: len(labels) for split, labels in self._labels.items()}
        write_json(self.folder / FACTS, self._facts._replace(splits=counts, options=options)._asdict())


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
    facts: LraFacts,
    options: Dict[str, Any],
    make: Callable[[Writer], None],
    extra: Sequence[str] = (),
) -> LraFacts:
    """Makes a data set, or finds it done.

    Args:
        out: Its folder.
        facts: Of the task.
        options: Everything else that decides its bytes, as plain data.
        make: Adds the examples, and writes the extra files into the writer's folder.
        extra: Their names.

    Raises:
        DataError: The folder holds another task, or `make` raised one.
    """
    if (Path(out) / FACTS).exists():
        # Another task is not written over: it would be lost.
        found = read_facts(out).task
        if found != facts.task:
            raise DataError(f"{out} holds the task {found}, not {facts.task}: choose another --out, or delete it")
    stages = Stages(out, "prep_lra")
    options = {"version": VERSION, **options}
    names = [*facts.files(), *extra]

    def build(folder: Path) -> None:
        with Writer(folder, facts) as writer:
            make(writer)
            writer.finish(options)
        for split in SPLITS:
            LraSplit(folder, split)

    kind = {name: value for name, value in facts._asdict().items() if name not in ("splits", "options")}
    publish = functools.partial(stages.publish, FACTS, names, build)
    with stages.alone():
        stages.run("data_set", {"kind": kind, **options}, [*names, FACTS], publish)
        facts = read_facts(out)
    counts = ", ".join(f"{split} {facts.splits[split]:,}" for split in SPLITS)
    logger.info("%s: %s; %d classes, up to %d tokens", facts.task, counts, facts.num_classes, facts.max_length)
    return facts
