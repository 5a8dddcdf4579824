"""A trained translator as one folder, which can be moved, shipped and loaded by its name."""

import os
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Dict, Optional, Tuple, Union

import torch
import yaml
from torch import Tensor

from leap_fairseq.files import DataError, whole_folder
from leap_fairseq.models.averaging import without_moving_average
from leap_fairseq.models.data_places import data_folder
from leap_fairseq.models.translator_checkpoint import CHECKPOINT, CONFIG, check_streaming, read_checkpoint
from leap_fairseq.speech.data_config import require_closed
from leap_fairseq.tasks.leap_speech_to_text import LeapS2TDataConfig


def export_translator(
    checkpoint: Union[str, Path],
    out: Union[str, Path],
    data: Optional[Union[str, Path]] = None,
    config_yaml: Optional[str] = None,
    dtype: Optional[torch.dtype] = None,
) -> Path:
    """Gathers what a translator needs: weights and options, data YAML, CMVN, SentencePiece model and dictionary.

    Args:
        checkpoint: of a simultaneous translator, or an exported folder with its data; the state of the optimizer and a
            moving average are left out.
        out: the folder to make; an older one of this kind is replaced.
        data, config_yaml: folder and name of the data YAML, as for
            :func:`leap_fairseq.models.translator_checkpoint.load_translator`.
        dtype: of the weights in the file (default: as they are); a translator computes in float32 from any.

    Returns:
        The folder.

    Raises:
        DataError: the dictionary is missing, ``out`` holds something else, or a weight is too large for its type.
        FileNotFoundError, ValueError: as for :func:`leap_fairseq.models.translator_checkpoint.load_translator`.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    state, _ = read_checkpoint(checkpoint)
    if out.exists() and not (out / CHECKPOINT).is_file() and any(out.iterdir()):
        raise DataError(f"{out} holds something that is not an exported model: give a new folder")
    if checkpoint.is_dir():
        data, config_yaml = checkpoint, CONFIG
        require_closed(checkpoint, CONFIG)
    state["model"] = _rounded(state["model"], dtype)
    model, task = state["cfg"]["model"], state["cfg"]["task"]
    name = config_yaml or task.config_yaml
    folder = Path(data_folder(checkpoint, task.data, name) if data is None else data)
    found = LeapS2TDataConfig(folder / name)
    check_streaming(found)
    config = found.config
    with whole_folder(out) as made:
        config["vocab_filename"] = _take(folder / found.vocab_filename, made)
        config["bpe_tokenizer"]["sentencepiece_model"] = _take(found.bpe_tokenizer["sentencepiece_model"], made)
        if found.global_cmvn_stats_npz is not None:
            config["global_cmvn"]["stats_npz_path"] = _take(found.global_cmvn_stats_npz, made)
        config["audio_root"] = "."
        (made / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        # Where it was trained is of no use elsewhere, and nobody's business.
        task, model = _without_places(task), _without_places(model)
        task.data, task.config_yaml = ".", CONFIG
        kept = {name: state.get(name) for name in ("model", "args", "optimizer_history")}
        kept["extra_state"] = without_moving_average(state.get("extra_state"))
        torch.save({**kept, "cfg": {"task": task, "model": model}}, made / CHECKPOINT)
    return out


def _rounded(weights: Dict[str, Tensor], dtype: Optional[torch.dtype]) -> Dict[str, Tensor]:
    """Weights in another type. An embedding that is also the output projection stays one tensor, and is saved once."""
    made: Dict[Tuple, Tensor] = {}
    rounded = {}
    for name, value in weights.items():
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        made.setdefault(place, value.to(dtype or value.dtype) if value.is_floating_point() else value)
        rounded[name] = made[place]
        if not torch.equal(rounded[name].isfinite(), value.isfinite()):
            raise DataError(f"{name} has a weight that is too large for {dtype}: take bfloat16 or float32 (--dtype)")
    return rounded


def _without_places(options: Namespace) -> Namespace:
    """Options of fairseq's command line without absolute paths."""
    return Namespace(**{k: None if isinstance(x, str) and os.path.isabs(x) else x for k, x in vars(options).items()})


def _take(source: Union[str, Path], made: Path) -> str:
    """Copies a file of the data; returns its name in the new folder."""
    source = Path(source)
    if not source.is_file():
        raise DataError(f"{source} is missing: it is named in the data YAML, and the translator needs it")
    shutil.copyfile(source, made / source.name)
    return source.name
