"""One model from the last checkpoints of a training: the mean of their weights, which is often better than each.

Sums are kept in float64, and a checkpoint is read at a time. Everything but the weights is that of the newest one;
the state of its optimizer and a moving average, which belong to other weights, are left out.

Source: Vaswani et al., Attention Is All You Need, 2017, section 6.1; the files are those of fairseq-train.
"""

import logging
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor

from leap_fairseq.files import DataError, whole_file
from leap_fairseq.models.checked import asked_for, read_plain
from leap_fairseq.models.options import differences, model_options

logger = logging.getLogger(__name__)

SERIES = {
    "epoch": re.compile(r"checkpoint(\d+)\.pt"),
    "update": re.compile(r"checkpoint_(\d+)_(\d+)\.pt"),
    "best": re.compile(r"checkpoint\.best_(.+)_(-?\d+(?:\.\d+)?)\.pt"),
}
"""Names of the checkpoints that fairseq-train keeps: by epoch, by epoch and update, by metric and its value."""

OF_TRAINING = re.compile(r"checkpoint(\d+|_\d+_\d+|_last|_best|\.best_.+)\.pt")

MOVING_AVERAGE = ("ema", "ema_fp32_params")
"""Names in the extra state of a checkpoint, as fairseq's trainer saves them."""


def average_checkpoints(
    folder: Union[str, Path], out: Union[str, Path], count: int = 10, series: Optional[str] = None
) -> List[Path]:
    """Averages the weights of the last checkpoints of a folder, or of its best.

    Args:
        folder: the --save-dir of a training.
        out: the .pt file to write, whole or not at all; its folder is made. It loads wherever the others do.
        count: how many; where there are fewer, all are taken, with a warning.
        series: "epoch" (checkpoint12.pt), "update" (checkpoint_12_3400.pt), or "best" (checkpoint.best_loss_2.31.pt);
            default: by epoch where the folder has such, else by update.

    Returns:
        The checkpoints, the newest (or best) last.

    Raises:
        DataError: a count below 1, no checkpoint of the series, checkpoints of different models or of other ones than
            ours, or an output that does not end in .pt or that a training would take for its own.
        OSError, EOFError, RuntimeError, pickle.UnpicklingError: a checkpoint that cannot be read, or an output that
            cannot be written.
    """
    folder, out = Path(folder), Path(out)
    if count < 1:
        raise DataError(f"{count} checkpoints cannot be averaged: give a number of at least 1")
    if out.suffix != ".pt":
        raise DataError(f"{out} does not end in .pt, as a checkpoint must: give the file to write, such as average.pt")
    if out.resolve().parent == folder.resolve() and OF_TRAINING.fullmatch(out.name):
        raise DataError(f"{out} is a name that fairseq-train gives itself: choose another, such as average.pt")
    found = find_checkpoints(folder, series)
    paths = found[-count:]
    if len(paths) < count:
        logger.warning("%s has only %d of the %d checkpoints: all of them are averaged", folder, len(paths), count)
    state = _mean(paths)
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as file:
        torch.save(state, file)
    return paths


def find_checkpoints(folder: Union[str, Path], series: Optional[str] = None) -> List[Path]:
    """The checkpoints of a folder, from the oldest to the newest, or from the worst to the best.

    Args:
        folder: the --save-dir of a training.
        series: as for :func:`average_checkpoints`.

    Raises:
        DataError: no folder, an unknown series, none of its checkpoints, or best ones by several metrics.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: give the --save-dir of a training")
    if series is not None and series not in SERIES:
        raise DataError(f"series {series!r} is not one of {', '.join(SERIES)}")
    for name in (series,) if series else ("epoch", "update"):
        matches = [match for match in map(SERIES[name].fullmatch, sorted(p.name for p in folder.iterdir())) if match]
        if matches:
            ordered = _by_value(matches, folder) if name == "best" else sorted(matches, key=_number)
            return [folder / match[0] for match in ordered]
    raise DataError(
        f"{folder} has no checkpoint to average{_others(folder, series)}: fairseq-train keeps one an epoch without "
        "--no-epoch-checkpoints, every N updates with --save-interval-updates N (the last M with "
        "--keep-interval-updates M), and the best M with --keep-best-checkpoints M"
    )


def without_moving_average(extra_state: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """What a training remembers beside its weights, but for their moving average (``--store-ema``).

    It is a second model, which would stay as it was where the weights become others.
    """
    return {name: value for name, value in (extra_state or {}).items() if name not in MOVING_AVERAGE}


def _mean(paths: List[Path]) -> Dict[str, Any]:
    """The last checkpoint, with the mean of all numbers that have a fraction, rounded once to their type."""
    state = _read(paths[-1])
    newest = state["model"]
    # Copies: a tensor of float64 that has two names would otherwise be added to twice.
    sums = {n: value.to(torch.float64, copy=True) for n, value in newest.items() if value.is_floating_point()}
    for path in paths[:-1]:
        other = _read(path)
        _require_same(state, other, paths[-1], path)
        for name, total in sums.items():
            total += other["model"][name]
    places: Dict[Tuple, Tensor] = {}
    for name, total in sums.items():
        value = newest[name]
        # An embedding that is also the output projection stays one tensor, and the file as small as it was.
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        places.setdefault(place, (total / len(paths)).to(value.dtype))
        newest[name] = places[place]
    return state


def _read(path: Path) -> Dict[str, Any]:
    """A checkpoint as fairseq-train saved it, without the state of its optimizer and a moving average."""
    state = read_plain(path)
    # What others would refuse to load is not made into a file of ours.
    asked_for(state["cfg"], path)
    state.pop("last_optimizer_state", None)
    return {**state, "extra_state": without_moving_average(state.get("extra_state"))}


def _require_same(state: Dict[str, Any], other: Dict[str, Any], path: Path, other_path: Path) -> None:
    """Refuses a mean of different models."""
    same = "average checkpoints of one training only"
    changed = differences(model_options(other.get("cfg")), model_options(state.get("cfg")))
    if changed:
        raise DataError(f"{other_path} was trained with {'; '.join(changed)} as {path}: {same}")
    weights, others = state["model"], other["model"]
    for name in sorted(set(weights) ^ set(others)):
        holder, lacks = (path, other_path) if name in weights else (other_path, path)
        raise DataError(f"{lacks} has no {name}, which {holder} has: {same}")
    for name, value in weights.items():
        given = others[name]
        if given.shape != value.shape or given.is_floating_point() != value.is_floating_point():
            shapes = f"is {given.dtype} {tuple(given.shape)} in {other_path}, {value.dtype} {tuple(value.shape)}"
            raise DataError(f"{name} {shapes} in {path}: {same}")
        if not value.is_floating_point() and not torch.equal(value, given):
            raise DataError(f"{name}, whole numbers that have no mean, differs between {other_path} and {path}: {same}")


def _number(match: re.Match) -> Tuple[int, ...]:
    return tuple(map(int, match.groups()))


def _by_value(matches: List[re.Match], folder: Path) -> List[re.Match]:
    """From the worst to the best; the training knew whether higher is better."""
    metrics = sorted({match[1] for match in matches})
    if len(metrics) > 1:
        raise DataError(f"{folder} has the best checkpoints by {' and by '.join(metrics)}: move one kind elsewhere")
    options = _read(folder / matches[0][0]).get("cfg") or {}
    higher = options.get("checkpoint", {}).get("maximize_best_checkpoint_metric", False)
    return sorted(matches, key=lambda match: float(match[2]), reverse=not higher)


def _others(folder: Path, series: Optional[str]) -> str:
    """What a folder has of the other series, for a message."""
    names = [path.name for path in folder.iterdir()]
    flags = {"epoch": "--by epoch", "update": "--by update", "best": "--best N"}
    has = [flag for name, flag in flags.items() if name != series and any(map(SERIES[name].fullmatch, names))]
    kind = {"epoch": " by epoch", "update": " by update", "best": " of the best", None: ""}[series]
    return kind + (f" (it has those of {' and '.join(has)})" if has else "")
