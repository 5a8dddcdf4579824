"""Speech data without a framework: audio, features, and the files that fairseq's speech_to_text task reads.

Data preparation and the streaming agent share it, so that what a model hears is what it was trained on. It imports
neither torch nor fairseq.
"""

from leap_fairseq.files import DataError
from leap_fairseq.speech.audio import (
    SAMPLE_RATE,
    AudioError,
    OnlineResampler,
    load_audio,
    load_segments,
    stream_file,
    stream_pcm,
    to_mono,
)
from leap_fairseq.speech.data_config import write_data_config
from leap_fairseq.speech.dataset import FeatureZip, ManifestRow, write_manifest
from leap_fairseq.speech.features import NUM_MEL_BINS, CmvnAccumulator, GlobalCmvn, OnlineFbank, fbank
from leap_fairseq.speech.vocabulary import NEXT_SENTENCE, train_vocabulary

__all__ = [
    "NEXT_SENTENCE",
    "NUM_MEL_BINS",
    "SAMPLE_RATE",
    "AudioError",
    "CmvnAccumulator",
    "DataError",
    "FeatureZip",
    "GlobalCmvn",
    "ManifestRow",
    "OnlineFbank",
    "OnlineResampler",
    "fbank",
    "load_audio",
    "load_segments",
    "stream_file",
    "stream_pcm",
    "to_mono",
    "train_vocabulary",
    "write_data_config",
    "write_manifest",
]
