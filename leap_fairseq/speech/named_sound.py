"""A part of a recording as a manifest names it, `talks/a.wav:12.3:4.5`, and its features, computed when asked for.

Both numbers are seconds: where it begins, and how long it is; without the second it goes to the end of the file. The
features are those that data preparation puts into a zip, bit for bit.
"""

from pathlib import Path
from typing import Optional, Union

import numpy as np

from leap_fairseq.speech.audio import AudioError, load_segments
from leap_fairseq.speech.features import fbank


def named_sound(path: Union[str, Path], offset: float, duration: Optional[float]) -> str:
    """The name of a part of a recording."""
    # As Python writes a number it is read again exactly.
    return f"{path}:{float(offset)!r}:{'' if duration is None else repr(float(duration))}"


def sound_features(name: str) -> np.ndarray:
    """The features of what `named_sound` has named, float32 [T, 80].

    Raises:
        AudioError: It is no such name, or the recording is missing, damaged or shorter than its part.
    """
    path, *times = name.rsplit(":", 2)
    try:
        offset, duration = float(times[0]), float(times[1]) if times[1] else None
    except (IndexError, ValueError) as error:
        raise AudioError(f"{name!r} must be path:offset:duration, in seconds: prepare the data again") from error
    samples = next(load_segments(path, [(offset, duration)], cut_at_end=True))
    if isinstance(samples, AudioError):
        raise samples
    return fbank(samples)
