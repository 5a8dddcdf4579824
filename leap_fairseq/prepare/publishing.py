"""Puts the files of a data set in place all at once, as far as its readers can tell."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Callable, Iterable, Sequence

from leap_fairseq.files import Stages

BUILD = "build-"


def make_and_publish(
    stages: Stages, key: str, names: Sequence[str], make: Callable[[Path], None], old: Iterable[str] = ()
) -> None:
    """Has files made in a hidden folder, and moves them to theirs when all are whole.

    Args:
        stages: Of the folder.
        key: The file without which no reader takes the folder for data: it goes first and comes last.
        names: The other files.
        make: Writes all of them into the folder it is given.
        old: Files of an earlier data set, which go too.
    """
    # A killed run's workers may still be writing there: what cannot be removed now is the next run's.
    for left in stages.stamps.glob(f"{BUILD}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=BUILD, dir=stages.stamps) as build:
        make(Path(build))
        for name in [key, *names, *old]:
            (stages.folder / name).unlink(missing_ok=True)
        for name in [*names, key]:
            os.replace(Path(build) / name, stages.folder / name)
