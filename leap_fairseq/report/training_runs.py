"""A table of trainings, a row each, from their records."""

import math
from typing import Any, Dict, List, Optional, Sequence

from leap_fairseq.report.run_record import RunRecord

DETAILS = ("seed", "sessions", "started", "host", "device", "threads", "commit", "python", "torch", "fairseq")
"""Columns that a terminal has no room for."""


def run_rows(records: Sequence[RunRecord]) -> List[Dict[str, Any]]:
    """A row for each record, of its last session where sessions may differ; nan where a record does not tell.

    Columns: run (its folder), arch, parameters, updates, hours (of all sessions), cpu_kj (energy of the processors of
    the machine), metric (by which checkpoints are chosen), best (its best value), best_at (the update of that), last,
    processes, leap_fairseq (version), and those of `DETAILS`.
    """
    return [_row(record) for record in records]


def _row(record: RunRecord) -> Dict[str, Any]:
    session, summary, validations = record.sessions[-1], record.summary(), record.validations()
    versions, best, metric = session.get("versions", {}), summary.get("best", {}), session["metric"]
    known = {
        "run": str(record.folder),
        "arch": session.get("arch"),
        "parameters": session.get("parameters"),
        "updates": summary["updates"],
        "hours": summary["seconds"] / 3600,
        "cpu_kj": _in_thousands(summary.get("cpu_joules")),
        "metric": metric,
        "best": best.get("value"),
        "best_at": best.get("updates"),
        "last": validations[-1].get(metric) if validations else None,
        "processes": session.get("processes"),
        "leap_fairseq": versions.get("leap_fairseq"),
        "sessions": len(record.sessions),
        **{name: session.get(name) for name in ("seed", "started", "host", "device", "threads", "commit")},
        **{name: versions.get(name) for name in ("python", "torch", "fairseq")},
    }
    return {name: math.nan if value is None else value for name, value in known.items()}


def _in_thousands(value: Optional[float]) -> Optional[float]:
    return None if value is None else value / 1000
