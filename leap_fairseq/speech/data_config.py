"""The data YAML of fairseq's speech_to_text task.

All its paths are relative to its own folder, so that a data folder can be moved or shipped as it is.
"""

from pathlib import Path
from typing import Any, Dict, Union

import yaml

from leap_fairseq.files import DataError, whole_file
from leap_fairseq.speech.audio import SAMPLE_RATE
from leap_fairseq.speech.features import NUM_MEL_BINS

SPECAUGMENT_POLICIES = ("none", "lb", "ld", "lb-frequency")

_SPECAUGMENT = {
    name: {
        "time_warp_W": 0,
        "freq_mask_N": masks,
        "freq_mask_F": 27,
        "time_mask_N": time_masks,
        "time_mask_T": 100,
        "time_mask_p": 1.0,
    }
    for name, masks, time_masks in (("lb", 1, 1), ("ld", 2, 2), ("lb-frequency", 1, 0))
}
"""LibriSpeech basic and double. Source: Park et al. 2019 (arXiv 1904.08779), table 1, without time warping, as in
fairseq's S2TDataConfigWriter. The third leaves time whole: a mask of a second would hide words of a short utterance."""


def write_data_config(
    path: Union[str, Path], vocabulary: str, cmvn: str = "gcmvn.npz", specaugment: str = "none"
) -> Dict[str, Any]:
    """Writes the data YAML for features with global CMVN, and returns what was written.

    Args:
        path: For example `config_st.yaml`.
        vocabulary: Name of the SentencePiece model and dictionary without ending, in the YAML's folder.
        cmvn: Statistics .npz, relative to the YAML's folder.
        specaugment: none; lb or ld, SpecAugment's LibriSpeech basic and double policy; lb-frequency, the former's
            frequency mask alone. Applies to training only.

    Raises:
        DataError: An unknown SpecAugment policy.
    """
    if specaugment not in SPECAUGMENT_POLICIES:
        choices = ", ".join(SPECAUGMENT_POLICIES)
        raise DataError(f"SpecAugment policy is {specaugment!r}, but must be one of {choices} (--specaugment)")
    augmented = specaugment != "none"
    config = {
        "vocab_filename": f"{vocabulary}.txt",
        "bpe_tokenizer": {"bpe": "sentencepiece", "sentencepiece_model": f"{vocabulary}.model"},
        "audio_root": ".",
        "use_audio_input": False,
        "sample_rate": SAMPLE_RATE,
        "input_channels": 1,
        "input_feat_per_channel": NUM_MEL_BINS,
        "global_cmvn": {"stats_npz_path": cmvn},
        "feature_transforms": {
            "_train": ["global_cmvn", "specaugment"] if augmented else ["global_cmvn"],
            "*": ["global_cmvn"],
        },
    }
    if augmented:
        config["specaugment"] = dict(_SPECAUGMENT[specaugment])
    with whole_file(path, text=True) as file:
        yaml.safe_dump(config, file, sort_keys=False)
    return config
