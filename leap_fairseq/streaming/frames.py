"""What a frame of the encoder stands for: 40 ms of speech, 4 features of 10 ms, 640 samples."""

import math

from leap_fairseq.layers.subsampler import SUBSAMPLING
from leap_fairseq.speech.audio import SAMPLE_RATE
from leap_fairseq.speech.features import FRAME_LENGTH_MS, FRAME_SHIFT_MS

FEATURES_PER_FRAME = SUBSAMPLING

FEATURES_MISSING = math.ceil((FRAME_LENGTH_MS - FRAME_SHIFT_MS) / FRAME_SHIFT_MS)
"""The window of a feature reaches beyond its shift: so many features of a prefix are not there yet."""

FRAME_MS = round(SUBSAMPLING * FRAME_SHIFT_MS)

SAMPLES_PER_FRAME = SAMPLE_RATE * FRAME_MS // 1000
