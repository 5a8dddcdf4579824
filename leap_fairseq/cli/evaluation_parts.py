"""An evaluation that several jobs share: each translates its part, and the last one puts all together.

What is divided is the list of all recordings under the first policy, then under the second, and so on: as many jobs as
policies translate one policy each. A job has a folder of its own in OUT/.parts, so that no two write to one place.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

from leap_fairseq.files import DataError, locked
from leap_fairseq.parts import Part, listed, parts_in
from leap_fairseq.scoring.run_folder import PARTS, check_facts, logged, with_lists

JOINING = "joining"
"""File that the job has locked which joins the parts."""


class Plan(NamedTuple):
    """How one policy is evaluated.

    Attributes:
        folder: of its log and scores, OUT or a folder in it.
        command: of SimulEval.
        facts: what decides the result.
        notes: what the scores need beside that.
        most: recordings that a process takes.
        columns: of its row in the table.
    """

    folder: Path
    command: List[str]
    facts: Dict[str, Any]
    notes: Dict[str, Any]
    most: int
    columns: Dict[str, Any]


def others_of(planned: Plan, out: Path) -> List[Path]:
    """Where jobs have left what they translated of a policy."""
    return [_folder(planned, out, part) for part in parts_in(out / PARTS)]


@contextlib.contextmanager
def shared(
    part: Optional[Part], plans: Sequence[Plan], lists: Sequence[Sequence[str]], out: Path, jobs: int
) -> Iterator[bool]:
    """Translates a part of an evaluation, if there are several; says which others are missing.

    Args:
        part: that this job does; None: there are no others.
        plans: of all policies.
        lists: recordings and references.
        out: folder of the evaluation.
        jobs: processes at a time.

    Yields:
        Whether all is there, and this job is to join it; without a part, True.

    Raises:
        DataError: as for :class:`leap_fairseq.agents.evaluation.Evaluation`.
    """
    if part is None:
        yield True
        return
    _translate(part, plans, lists, out, jobs)
    missing = _missing(plans, lists, out)
    count = len(plans) * len(lists[0])
    if missing:
        left = [each for each in part.all() if not missing.isdisjoint(each.of(count))]
        there = f"{count - len(missing)} of {count} translations are in {out}"
        sys.stdout.write(f"{there}; other jobs have to do the rest, {listed(left)}\n")
        yield False
        return
    with contextlib.ExitStack() as stack:
        (out / PARTS).mkdir(parents=True, exist_ok=True)
        (out / PARTS / JOINING).touch()
        try:
            stack.enter_context(locked(out / PARTS / JOINING))
        except DataError:
            # Whoever has it has seen that all is there.
            sys.stdout.write(f"all {count} translations are in {out}; another job is joining them\n")
            yield False
            return
        yield True


def _translate(part: Part, plans: Sequence[Plan], lists: Sequence[Sequence[str]], out: Path, jobs: int) -> None:
    from leap_fairseq.agents.evaluation import Evaluation

    length = len(lists[0])
    stretch = part.of(len(plans) * length)
    for planned in plans:
        check_facts(planned.folder, with_lists(planned.facts, *lists))
    for number, planned in enumerate(plans):
        wanted = range(max(0, stretch.start - number * length), min(length, stretch.stop - number * length))
        if wanted:
            evaluation = Evaluation(_folder(planned, out, part), *lists, planned.facts, planned.notes)
            others = [planned.folder, *others_of(planned, out)]
            evaluation.run(planned.command, jobs, planned.most, wanted, others)


def _missing(plans: Sequence[Plan], lists: Sequence[Sequence[str]], out: Path) -> set:
    """Places in the list of all recordings under all policies that nobody has translated."""
    missing, length = set(), len(lists[0])
    for number, planned in enumerate(plans):
        done = logged([planned.folder, *others_of(planned, out)], with_lists(planned.facts, *lists))
        missing |= {number * length + index for index in range(length) if index not in done}
    return missing


def _folder(planned: Plan, out: Path, part: Part) -> Path:
    return out / PARTS / part.folder / planned.folder.relative_to(out)
