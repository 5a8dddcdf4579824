"""The policies that one evaluation compares: those of its options, of which one may have several values."""

import argparse
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

from leap_fairseq.streaming.policy import Policy, flag, policy_options

FOLDERS = {"waitk_lagging": "k"}
"""How a folder begins that is one of several; the others begin with the name of the option."""


class PolicyRun(NamedTuple):
    """One of them.

    Attributes:
        settings: its options, by name, those alone that are given or decide what it is.
        columns: of its row in the table: the name of the policy, and what it is set to.
        folder: of its logs and scores.
    """

    settings: Dict[str, Any]
    columns: Dict[str, Any]
    folder: Path

    def flags(self, prefix: str) -> Dict[str, Any]:
        """Its options as a command line has them."""
        return {flag(name, prefix): value for name, value in self.settings.items()}


def policy_runs(options: argparse.Namespace, trained: Policy, out: Path) -> List[PolicyRun]:
    """What an evaluation runs, by the value of the option that has several.

    Args:
        options: of a command line with ``add_policy_options(parser, several=True)``.
        trained: the policy of the model.
        out: the folder of the evaluation, for one run; several have folders in it.

    Raises:
        ValueError: several values of more than one option, one value twice, or what the policy cannot be.
    """
    given = {name: value for name, value in policy_options(options).items() if value is not None}
    several = [name for name, values in given.items() if isinstance(values, list) and len(values) > 1]
    if len(several) > 1:
        flags = " and ".join(flag(name) for name in several)
        raise ValueError(f"{flags} have several values each: a curve is over one of them, give the others one value")
    if any(len(set(given[name])) < len(given[name]) for name in several):
        raise ValueError(f"{flag(several[0])} {' '.join(map(str, given[several[0]]))} has a value twice: give it once")
    runs = []
    for value in sorted(given[several[0]]) if several else [None]:
        settings = {name: values[0] if isinstance(values, list) else values for name, values in given.items()}
        folder = out
        if several:
            settings[several[0]] = value
            folder = out / f"{FOLDERS.get(several[0], several[0])}{value:g}"
        runs.append(_run(settings, trained.configured(**settings), folder))
    return runs


def _run(settings: Dict[str, Any], policy: Policy, folder: Path) -> PolicyRun:
    columns = policy.described()
    if "waitk_lagging" not in columns:
        return PolicyRun(settings, columns, folder)
    # k is part of what a folder remembers, given or not.
    lagging = columns.pop("waitk_lagging")
    return PolicyRun({"waitk_lagging": lagging}, {**columns, "waitk": lagging}, folder)
