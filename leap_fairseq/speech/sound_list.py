"""Recordings that are about to be translated one after the other: read once before, so that a bad one ends nothing."""

import logging
from pathlib import Path
from typing import Dict, Optional, Sequence, Tuple, Union

from leap_fairseq.files import whole_file
from leap_fairseq.speech.audio import AudioError, stream_file
from leap_fairseq.speech.features import FRAME_LENGTH_MS

logger = logging.getLogger(__name__)

SEGMENT_MS = 1000

LeftOut = Dict[int, Tuple[str, str]]
"""For numbers of recordings, from 0: which it is, and why it cannot be translated."""


def why_unusable(path: str) -> Optional[str]:
    """Reads a recording to its end.

    Returns:
        Why it cannot be translated; None if it can, also where its header is not true, which is said.
    """
    try:
        milliseconds = sum(len(samples) * 1000 / rate for samples, rate in stream_file(path, SEGMENT_MS))
    except AudioError as error:
        return str(error)
    return None if milliseconds >= FRAME_LENGTH_MS else f"{path}: shorter than one window of {FRAME_LENGTH_MS:g} ms"


def unusable(paths: Sequence[str]) -> LeftOut:
    """Looks for the recordings of a list that cannot be translated.

    Raises:
        AudioError: None can.
    """
    reasons = {number: (path, why_unusable(path)) for number, path in enumerate(paths)}
    left_out = {number: found for number, found in reasons.items() if found[1]}
    for number, (_, reason) in left_out.items():
        logger.warning("left out line %d of the list: %s", number + 1, reason)
    if left_out and len(left_out) == len(paths):
        raise AudioError(f"no recording of the list can be translated; the first: {left_out[0][1]}")
    return left_out


def write_left_out(left_out: LeftOut, folder: Union[str, Path]) -> Path:
    """Writes the table left_out.tsv: line of the list, recording and reason."""
    path = Path(folder) / "left_out.tsv"
    with whole_file(path, text=True) as file:
        file.write("line\trecording\treason\n")
        file.writelines(f"{number + 1}\t{name}\t{reason}\n" for number, (name, reason) in left_out.items())
    return path
