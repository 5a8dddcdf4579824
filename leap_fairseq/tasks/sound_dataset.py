"""Clips whose features are computed from the recordings when they are read: fairseq's data sets, but for the source."""

from typing import List, Union

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, ConcatDataset, FairseqDataset
from fairseq.data.audio.speech_to_text_dataset import SpeechToTextDataset, SpeechToTextMultitaskDataset
from torch import Tensor

from leap_fairseq.speech.named_sound import sound_features


class SoundDataset(SpeechToTextDataset):
    """fairseq's data set of speech, whose `audio_paths` are what `named_sound` gives."""

    def _get_source_audio(self, index: Union[int, List[int]]) -> Tensor:
        """fairseq's hook: the features [T, F] of a clip, or of several joined ones, transformed as those of a zip."""
        indices = index if isinstance(index, list) else [index]
        source = np.concatenate([sound_features(self.audio_paths[number]) for number in indices])
        if self.feature_transforms is not None:
            source = self.feature_transforms(source)
        return torch.from_numpy(source).float()


class SoundMultitaskDataset(SoundDataset, SpeechToTextMultitaskDataset):
    """The same for several targets at once."""


OURS = {SpeechToTextDataset: SoundDataset, SpeechToTextMultitaskDataset: SoundMultitaskDataset}


def read_sounds(dataset: FairseqDataset) -> None:
    """Has a data set that fairseq has made, alone, joined or resampled, read recordings in place of features."""
    if isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            read_sounds(part)
    elif isinstance(dataset, BaseWrapperDataset):
        read_sounds(dataset.dataset)
    else:
        # fairseq names the class where it makes the data set, in the middle of reading a manifest.
        dataset.__class__ = OURS[type(dataset)]
