"""The record of a training: ``run.json`` in its folder, with what was run, on what, for how long, and how it validated.

Each start of a training is a session of its own, so that nothing is lost when it is resumed. A session may have gone
on after the checkpoint from which the next one resumed: such updates stay in the file, but lead to no result.
"""

import json
import logging
import math
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Union

from leap_fairseq.files import DataError, whole_file

logger = logging.getLogger(__name__)

NAME = "run.json"

REQUIRED = ("first_update", "updates", "seconds", "metric", "maximize", "validations")
"""What a session cannot be understood without."""


class RunRecord:
    """The sessions of a training, and what follows from them.

    Args:
        folder: of the training, its ``--save-dir``.
        sessions: plain data, the oldest first. Of each, the update from which it went on (first_update), the last one
            (updates), its time (seconds), the figure by which checkpoints are chosen (metric, maximize), its
            validations, and the facts that :meth:`begin` was given.
    """

    def __init__(self, folder: Union[str, Path], sessions: List[Dict[str, Any]]):
        self.folder, self.sessions = Path(folder), sessions

    @classmethod
    def read(cls, run: Union[str, Path]) -> "RunRecord":
        """Reads a record.

        Args:
            run: the folder of a training, or the file.

        Raises:
            DataError: there is none, or the file is something else.
        """
        path = Path(run)
        path = path if path.name == NAME else path / NAME
        try:
            sessions = json.loads(path.read_text(encoding="utf-8"))["sessions"]
            whole = bool(sessions) and all(name in session for session in sessions for name in REQUIRED)
            record = cls(path.parent, sessions)
            if whole:
                record.summary()  # needs all of it
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(f"{run} is no run: it has no {NAME}{_where_else(Path(run))}") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} is no record of a training ({error}): move it away") from error
        if not whole:
            raise DataError(f"{path} is no record of a training: one of its sessions lacks one of {REQUIRED}")
        return record

    @classmethod
    def open(cls, folder: Union[str, Path]) -> "RunRecord":
        """The record to go on with: that of the folder, or an empty one. What is not readable is put aside."""
        path = Path(folder, NAME)
        if not path.exists():
            return cls(folder, [])
        try:
            return cls.read(folder)
        except DataError as error:
            aside = path.with_name(f"{NAME}.unreadable")
            os.replace(path, aside)
            logger.warning("a new record is begun, and the old one is now %s: %s", aside, error)
            return cls(folder, [])

    def begin(self, first_update: int, metric: str, maximize: bool, **facts: Any) -> None:
        """Begins a session.

        Args:
            first_update: updates that the training has made before.
            metric: the figure by which checkpoints are chosen.
            maximize: whether more of it is better.
            facts: plain data about what is run, and on what.
        """
        counts = {"first_update": first_update, "updates": first_update, "seconds": 0.0}
        self.sessions.append({**facts, **counts, "metric": metric, "maximize": maximize, "validations": []})

    def advance(self, updates: int, seconds: float, joules: Optional[float]) -> None:
        """How far this session has come: updates of the training, and seconds and energy of the session."""
        session = self.sessions[-1]
        session.update(updates=updates, seconds=round(seconds, 3))
        if joules is None:
            session.pop("cpu_joules", None)
        else:
            session["cpu_joules"] = round(joules, 3)

    def validated(self, subset: str, updates: int, seconds: float, figures: Mapping[str, Any]) -> None:
        """Adds a validation; figures that are no finite number become null, which is what JSON has for them."""
        plain = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        entry = {"subset": subset, "updates": updates, "seconds": round(seconds, 3), **plain}
        self.sessions[-1]["validations"].append(entry)

    def validations(self, subset: Optional[str] = None) -> List[Dict[str, Any]]:
        """What leads to the last update, in order; seconds are those of all sessions so far.

        Args:
            subset: name of the data; None for those that are validated first, by which checkpoints are chosen.
        """
        kept: List[Dict[str, Any]] = []
        before = 0.0
        for session in self.sessions:
            kept = [entry for entry in kept if entry["updates"] <= session["first_update"]]
            kept += [{**entry, "seconds": before + entry["seconds"]} for entry in session["validations"]]
            before += session["seconds"]
        chosen = subset if subset is not None else kept[0]["subset"] if kept else None
        return [entry for entry in kept if entry["subset"] == chosen]

    def summary(self) -> Dict[str, Any]:
        """Updates, seconds of all sessions, energy if each of them knows it, and the best validation if any."""
        last = self.sessions[-1]
        found = {"updates": last["updates"], "seconds": round(sum(session["seconds"] for session in self.sessions), 3)}
        joules = [session.get("cpu_joules") for session in self.sessions]
        if None not in joules:
            found["cpu_joules"] = round(sum(joules), 3)
        metric = last["metric"]
        entries = [entry for entry in self.validations() if entry.get(metric) is not None]
        if entries:
            best = (max if last["maximize"] else min)(entries, key=lambda entry: entry[metric])
            found["best"] = {"metric": metric, "value": best[metric], "updates": best["updates"]}
        return found

    def write(self) -> None:
        """Writes the file, whole or not at all.

        Raises:
            OSError: the disk does not take it.
            DataError: another process is writing it.
        """
        with whole_file(self.folder / NAME, text=True) as file:
            json.dump({**self.summary(), "sessions": self.sessions}, file, indent=1, allow_nan=False)
            file.write("\n")


def _where_else(run: Path) -> str:
    if not run.exists():
        return " (there is no such folder)"
    inside = sorted(path.parent.name for path in run.glob(f"*/{NAME}"))
    if inside:
        return f"; the folders in it have: {', '.join(inside[:5])}{', ...' if len(inside) > 5 else ''}"
    return ": give the --save-dir of a training with one of the tasks of this plugin"
