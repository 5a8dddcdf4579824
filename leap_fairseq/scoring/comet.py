"""COMET of translations, by unbabel-comet: a trained metric that reads the translation, its reference and the speech.

A model is a file, or has a name on the Hugging Face Hub; it is never fetched unasked, for most have gigabytes.
"""

import functools
import importlib
import logging
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from leap_fairseq.files import file_digest
from leap_fairseq.scoring.signature import installed_version, signature

CHECKPOINT = Path("checkpoints/model.ckpt")
"""Of a model, in its folder."""

ENDING = ".ckpt"


def comet_score(
    predictions: Sequence[str], references: Sequence[str], transcripts: Sequence[Optional[str]], model: str
) -> Tuple[float, str]:
    """COMET of a corpus, in the model's own scale (1 is perfect, mostly), and the signature that says how.

    Args:
        predictions: translations.
        references: of each.
        transcripts: of the speech of each, None or empty where it is not known; few models can do without any.
        model: path of a checkpoint or of its folder, or the name of a model that has been fetched.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: unbabel-comet is not installed.
        ValueError: the model is not here, cannot be loaded, or needs transcripts.
    """
    samples: List[Dict[str, str]] = [{"mt": text, "ref": right} for text, right in zip(predictions, references)]
    has_transcripts = any(transcripts)
    if has_transcripts:
        samples = [{"src": source or "", **sample} for source, sample in zip(transcripts, samples)]
    loaded = _loaded(model)
    try:
        found = loaded.predict(samples, batch_size=16, gpus=0, progress_bar=False)
    except KeyError as error:
        if has_transcripts or error.args != ("src",):
            raise
        remedy = "give them (--source-text), or choose another model"
        raise ValueError(f"--comet {model} needs the transcripts of the speech: {remedy}") from error
    facts = {"model": model, **({"sha256": _short_digest(model)} if _is_path(model) else {})}
    facts |= {"src": "yes" if has_transcripts else "no", "version": installed_version("unbabel-comet")}
    return float(found.system_score), signature("COMET", **facts)


@functools.lru_cache(maxsize=1)
def _loaded(model: str) -> Any:
    try:
        comet = importlib.import_module("comet")
    except ImportError as error:
        remedy = "pip install 'leap-fairseq[comet]', in an environment of its own, for it needs numpy below 2"
        raise ImportError(f"--comet needs unbabel-comet: {remedy} ({error})") from error
    for name in ("pytorch_lightning", "lightning.pytorch", "comet"):  # of what they are, for each run
        logging.getLogger(name).setLevel(logging.WARNING)
    path = _checkpoint(model) if _is_path(model) else _fetched(comet, model)
    try:
        return comet.load_from_checkpoint(str(path))
    except Exception as error:  # COMET raises nothing narrower
        raise ValueError(f"--comet {model}: unbabel-comet cannot load {path} ({error})") from error


def _is_path(model: str) -> bool:
    return Path(model).exists() or model.endswith(ENDING)


def _checkpoint(model: str) -> Path:
    """The file of a model that is named by its path."""
    path = Path(model)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"--comet {model}: there is no {path}: give a checkpoint of COMET ({ENDING}), or a name"
        )
    return path


def _fetched(comet: Any, model: str) -> Path:
    """The file of a model that is named as on the Hub."""
    try:
        return Path(comet.download_model(model, local_files_only=True))
    except KeyError as error:
        command = f"python -c \"import comet; comet.load_from_checkpoint(comet.download_model('{model}'))\""
        remedy = f"fetch it once with: {command} (2 GB for wmt22-comet-da), or give the path of its model.ckpt"
        what = "no such file, and no model of this name has been fetched"
        raise ValueError(f"--comet {model}: {what}: {remedy}") from error


@functools.lru_cache(maxsize=1)
def _short_digest(model: str) -> str:
    return file_digest(_checkpoint(model))[:12]
