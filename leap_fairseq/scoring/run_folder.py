"""The folder of a run: what it was made from, and the log of what is done, in the order of the list.

A run that was interrupted goes on where it stopped; a folder of another run, or of something else, is refused. The log
is whole at any time: what is being translated is noted in a hidden file, in which a line that breaks off counts as not
translated.
"""

import contextlib
import json
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, Iterable, Iterator, List, Optional, Sequence, Union

from leap_fairseq.files import DataError, digest, file_digest, locked, whole_file
from leap_fairseq.scoring.instances import read_log
from leap_fairseq.scoring.settings import FACTS, NOTES, SENTENCES, recorded

LOG = "instances.log"
NOTED = ".instances.log.noted"

PARTS = ".parts"
"""Folder, in that of an evaluation, of what jobs on several machines have translated."""

MODEL, DATA, RECORDINGS = "model", "data", "recordings"
"""Facts: digests of the model, of what it takes from its data, and of what was heard."""

LATER = (MODEL, DATA, RECORDINGS)
"""Facts that a folder of an earlier version may lack, or a run whose data are not here: it is taken for the same."""

Fields = Dict[str, Any]
"""A line of SimulEval's log."""


class RunFolder:
    """The folder of one run.

    Args:
        out: the folder; made, or resumed.
        sources: path of each recording.
        references: its translation.
        facts: what decides the result, as plain data: model, k, segment, ...
        notes: what a new folder shall remember beside that, for the scores.

    Raises:
        DataError: the lists differ in length or are empty, or the folder holds another run or something else.
    """

    def __init__(
        self,
        out: Union[str, Path],
        sources: Sequence[str],
        references: Sequence[str],
        facts: Dict[str, Any],
        notes: Optional[Dict[str, Any]] = None,
    ):
        if len(sources) != len(references) or not sources:
            raise DataError(
                f"the source list has {len(sources)} lines and the target list {len(references)}: they must be "
                "parallel and not empty (leap-fairseq prepare lists writes both)"
            )
        self.out = Path(out)
        self.sources, self.references = list(sources), list(references)
        self.facts = with_lists(facts, self.sources, self.references)
        self._claim(notes or {})

    def locked(self) -> ContextManager[int]:
        """Keeps a second process from the folder while this one writes; gives the descriptor of `files.locked`.

        Raises:
            DataError: another process is at it.
        """
        return locked(self.out / FACTS, f"the evaluation in {self.out}")

    def done(self) -> Dict[int, Fields]:
        """The lines of the log, by index.

        Raises:
            ValueError: a line is not a sentence, with its number and the reason.
        """
        log = self.out / LOG
        return read_log(log, allow_torn=True) if log.is_file() else {}

    def missing(self) -> List[int]:
        """Numbers of the recordings that are not in the log."""
        return sorted(set(range(len(self.sources))) - self.done().keys())

    def add(self, lines: Dict[int, Fields]) -> None:
        """Puts further lines into the log, in the order of the list; whole or not at all.

        Args:
            lines: by index.
        """
        if not lines:
            return
        done = {**self.done(), **{index: {**line, "index": index} for index, line in lines.items()}}
        with whole_file(self.out / LOG, text=True) as file:
            file.writelines(json.dumps(done[index]) + "\n" for index in sorted(done))

    @contextlib.contextmanager
    def noting(self) -> Iterator[Callable[[Fields], None]]:
        """Gives a function that keeps a line, also if the process is killed; the log has them all in the end.

        Of a killed process, the lines come first.
        """
        noted = self.out / NOTED
        self._take_noted()
        try:
            with noted.open("a", encoding="utf-8") as file:

                def note(line: Fields) -> None:
                    file.write(json.dumps(line) + "\n")
                    file.flush()

                yield note
        finally:
            self._take_noted()

    def _take_noted(self) -> None:
        noted = self.out / NOTED
        if noted.is_file():
            self.add(read_log(noted, allow_torn=True))
            noted.unlink()

    def _claim(self, notes: Dict[str, Any]) -> None:
        path = self.out / FACTS
        if not path.is_file():
            if self.out.exists() and any(path.name != PARTS for path in self.out.iterdir()):
                raise DataError(f"{self.out} holds something that is not an evaluation of ours: give a new folder")
            self.out.mkdir(parents=True, exist_ok=True)
            with whole_file(path, text=True) as file:
                json.dump({**notes, **self.facts}, file, indent=1, sort_keys=True)
        check_facts(self.out, self.facts)


def with_lists(facts: Dict[str, Any], sources: Sequence[str], references: Sequence[str]) -> Dict[str, Any]:
    """All that decides a run: its facts, and of which lists it is."""
    return {**facts, "lists": digest([list(sources), list(references)]), SENTENCES: len(sources)}


def check_facts(folder: Path, facts: Dict[str, Any]) -> None:
    """Refuses the folder of another run, with a DataError; one that says nothing is passed over."""
    found = _decisive(folder)
    changed = _changed(found, facts)
    if found and changed:
        was = "; ".join(f"{name} {found.get(name)}, not {facts.get(name)}" for name in sorted(changed))
        raise DataError(f"{folder} holds an evaluation of {was}: give a new folder, or remove this one")


def logged(folders: Iterable[Path], facts: Dict[str, Any]) -> Dict[int, Fields]:
    """What folders of one run have logged together, by index.

    Args:
        folders: that may hold something else, or nothing.
        facts: of the run; what is of another one is passed over.

    Raises:
        ValueError: a line is not a sentence, with its number and the reason.
    """
    lines: Dict[int, Fields] = {}
    for folder in folders:
        found = _decisive(folder)
        if (folder / LOG).is_file() and found and not _changed(found, facts):
            lines.update(read_log(folder / LOG, allow_torn=True))
    return lines


def heard(sources: Sequence[str]) -> Dict[str, str]:
    """The fact of what recordings hold: those of a list may be changed under their names."""
    return {RECORDINGS: digest([file_digest(path) for path in sources])}


def _changed(found: Dict[str, Any], facts: Dict[str, Any]) -> List[str]:
    """The names of the facts that differ."""
    names = [name for name in {**found, **facts} if name not in LATER or name in found and name in facts]
    return [name for name in names if found.get(name) != facts.get(name)]


def _decisive(folder: Path) -> Dict[str, Any]:
    """What a folder says that decides the result."""
    return {name: value for name, value in recorded(folder).items() if name not in NOTES}
