"""The data YAML of fairseq's speech_to_text task.

All its paths are relative to its own folder, so that a data folder can be moved or shipped as it is.
"""

from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple, Union

import yaml

from leap_fairseq.files import DataError, whole_file
from leap_fairseq.speech.audio import SAMPLE_RATE
from leap_fairseq.speech.features import NUM_MEL_BINS

FILES = ("vocab_filename", "sentencepiece_model", "stats_npz_path")
"""Keys, at any depth, of the files that a translator reads."""

ON_THE_FLY = "features_on_the_fly"
"""Key that says that manifests name parts of recordings, whose features are computed when they are read."""

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
    path: Union[str, Path],
    vocabulary: str,
    cmvn: str = "gcmvn.npz",
    specaugment: str = "none",
    audio_root: Optional[str] = None,
) -> Dict[str, Any]:
    """Writes the data YAML for features with global CMVN, and returns what was written.

    Args:
        path: For example `config_st.yaml`.
        vocabulary: Name of the SentencePiece model and dictionary without ending, in the YAML's folder.
        cmvn: Statistics .npz, relative to the YAML's folder.
        specaugment: none; lb or ld, SpecAugment's LibriSpeech basic and double policy; lb-frequency, the former's
            frequency mask alone. Applies to training only.
        audio_root: Where the recordings are of which the manifests name parts, see `named_sound`; None: the manifests
            name features in the YAML's folder.

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
        "audio_root": "." if audio_root is None else audio_root,
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
    if audio_root is not None:
        config[ON_THE_FLY] = True
    if augmented:
        config["specaugment"] = dict(_SPECAUGMENT[specaugment])
    with whole_file(path, text=True) as file:
        yaml.safe_dump(config, file, sort_keys=False)
    return config


def read_data_config(path: Union[str, Path]) -> Dict[str, Any]:
    """Reads a data YAML, as numbers, text, lists and mappings alone.

    Raises:
        DataError: It is no YAML, holds another type, or is not a mapping.
        OSError: It cannot be read.
    """
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not a data YAML ({' '.join(str(error).split())}): prepare the data again"
        ) from error
    if not isinstance(config, dict):
        raise DataError(f"{path} is a {type(config).__name__}, but must have keys with values: prepare the data again")
    return config


def require_closed(folder: Union[str, Path], name: str) -> None:
    """Refuses a folder whose data YAML reaches out of it, which one that was given away could be made to do.

    Args:
        folder: Of an exported model.
        name: Of its data YAML.

    Raises:
        DataError: The YAML or a text in it is an absolute path, an address, a path with "..", or a link out of the
            folder; or a file that a translator needs is not there.
        OSError: It cannot be read.
    """
    folder = Path(folder)
    _require_inside(folder, name, "the data YAML")
    for key, value in _texts(read_data_config(folder / name)):
        _require_inside(folder, value, f"the key {key} of {folder / name}")
        if key in FILES and not (folder / value).is_file():
            raise DataError(f"{folder / value} is missing, named by the key {key} of {folder / name}: export it again")


def _require_inside(folder: Path, value: str, origin: str) -> None:
    path = Path(value)
    inside = not path.is_absolute() and ".." not in path.parts and "://" not in value
    if not inside or not (folder / path).resolve().is_relative_to(folder.resolve()):
        raise DataError(
            f"{origin} is {value!r}, which is not in {folder}: an exported model has all of its files in its folder; "
            "copy the file there and name it, or export the model again"
        )


def _texts(config: Dict[str, Any]) -> Iterator[Tuple[str, str]]:
    """All texts of a YAML with the key above each."""
    waiting, seen = list(config.items()), set()
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, str):
            yield str(key), value
        # An anchor of a YAML can stand in many places, also within itself.
        elif isinstance(value, (dict, list)) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.items() if isinstance(value, dict) else ((key, item) for item in value)
