"""The numbered stages of preparing a corpus, of which a run may do a part.

A stage that is complete is reused, as everywhere. `--stage` starts later: what comes before it must be complete, and
is never made again; the audio itself is then not needed. `--stop-stage` stops earlier.
"""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Union

from leap_fairseq.files import DataError, Stages

STAGES = ("features", "manifests", "vocabulary", "config")
"""In their order; the number of the first is 1. Work of both tasks has the task behind its name: manifests_st."""

LAST = len(STAGES)

AUDIO = "audio"
"""The option of a stage that stands for the audio files, which `--stage` allows to be gone."""


class RecipeStages(Stages):
    """Stages from a first to a last number.

    Args:
        folder: Where the outputs go.
        name: Of the hidden folder of the stamps.
        first: Number of the first stage to run.
        last: Number of the last stage to run.
    """

    def __init__(self, folder: Union[str, Path], name: str, first: int, last: int):
        super().__init__(folder, name)
        self.first, self.last = first, last

    def wants(self, stage: str) -> bool:
        """Whether a stage, or its being complete, is asked for."""
        return _number(stage) <= self.last

    def run(self, stage: str, options: Dict[str, Any], outputs: List[str], make: Callable[[], None]) -> bool:
        """As `Stages.run`, for the stages asked for.

        Raises:
            DataError: A stage before the first one is not complete.
        """
        if _number(stage) >= self.first:
            return super().run(stage, options, outputs, make)
        stamp = self.stamps / f"{stage}.json"
        if not self.is_current(stage, {**options, **_audio_of(stamp)}):
            concept = STAGES[_number(stage) - 1]
            raise DataError(
                f"--stage {self.first} starts after stage {_number(stage)} ({concept}), which is not complete in"
                f" {self.folder} for this corpus and these options: start with --stage {_number(stage)}"
            )
        return False


def _number(stage: str) -> int:
    return STAGES.index(stage.split("_")[0]) + 1


def _audio_of(stamp: Path) -> Dict[str, Any]:
    try:
        return {AUDIO: json.loads(stamp.read_text(encoding="utf-8"))["options"][AUDIO]}
    except (OSError, ValueError, KeyError):
        return {}
