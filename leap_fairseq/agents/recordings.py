"""How SimulEval reads the recordings of a list: as data preparation and `leap-fairseq translate` do.

Its own reader takes what libsndfile gives: nothing where the header of a wav says 0 bytes, and nan as it stands; and
texts in the encoding of the machine, where ours are UTF-8.
"""

from pathlib import Path
from typing import List, Optional, Tuple, Union

import numpy as np
from simuleval.data.dataloader import register_dataloader
from simuleval.data.dataloader.s2t_dataloader import SpeechToTextDataloader

from leap_fairseq.speech.audio import stream_file
from leap_fairseq.speech.corpus import read_lines
from leap_fairseq.speech.sound_list import SEGMENT_MS

NAME = "leap-fairseq"
"""As SimulEval's --dataloader takes it."""

Samples = List[Union[float, List[float]]]


@register_dataloader(NAME)
class Recordings(SpeechToTextDataloader):
    """A list of recordings and one of translations."""

    _last: Tuple[Optional[int], Samples] = (None, [])

    @classmethod
    def from_files(cls, source: str, target: str, tgt_lang: Optional[str]) -> "Recordings":
        """Reads the lists, and one of languages where there is one.

        Raises:
            DataError: as for :func:`leap_fairseq.speech.corpus.read_lines`.
        """
        return cls(*([] if path is None else read_lines(Path(path)) for path in (source, target, tgt_lang)))

    def get_source(self, index: int) -> Samples:
        """The samples of a recording; SimulEval asks for it three times in a row, once for each field of a sentence."""
        if self._last[0] != index:
            self._last = index, super().get_source(index)
        return self._last[1]

    def preprocess_source(self, source: str) -> Samples:
        """The samples in [-1, 1], of several channels as lists.

        Raises:
            ValueError: as for :func:`leap_fairseq.speech.stream_file`.
        """
        pieces = [samples for samples, _ in stream_file(source, SEGMENT_MS)]
        samples = np.concatenate(pieces or [np.zeros((0, 1), np.float32)])
        return (samples[:, 0] if samples.shape[1] == 1 else samples).tolist()
