"""A picture of trainings: how a figure of the validation goes on over updates, and over the time they took."""

import logging
import math
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from leap_fairseq.report.run_record import RunRecord
from leap_fairseq.report.style import CM, as_label, check_form, import_pyplot, line_look, save_figure, style_for

logger = logging.getLogger(__name__)

SCREEN = 9.0
"""Width of the picture on a screen, inches."""

BESIDE = 12.0
"""cm; narrower pictures have the two halves one above the other."""

UNITS = ((7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
"""From so many seconds on, time is told in units of so many seconds."""

Curve = List[Tuple[int, float, float]]
"""Updates, seconds, and the figure, for each validation."""


def curves_of(
    records: Sequence[RunRecord], metric: Optional[str] = None, subset: Optional[str] = None
) -> Dict[str, Curve]:
    """The curve of each record, by its folder; records without such a figure are left out, with a warning.

    Args:
        records: of trainings.
        metric: figure of the validation; None for the one by which the first training chooses its checkpoints.
        subset: name of the data; None for the one that is validated first.

    Raises:
        ValueError: no record has such a figure.
    """
    name = metric or records[0].sessions[-1]["metric"]
    curves: Dict[str, Curve] = {}
    known = set()
    for record in records:
        entries = record.validations(subset)
        known |= {key for entry in entries for key in entry} - {"subset", "updates", "seconds"}
        curve = [(one["updates"], one["seconds"], one[name]) for one in entries if one.get(name) is not None]
        if curve:
            curves[str(record.folder)] = curve
        else:
            logger.warning("%s: no validation has the figure %s; it is left out of the picture", record.folder, name)
    if not curves:
        of = f" of the subset {subset}" if subset else ""
        has = f"they have {', '.join(sorted(known))}" if known else "none was validated yet"
        raise ValueError(f"--metric {name}: no run has a validation{of} with this figure: {has}")
    return curves


def plot_training_curves(
    curves: Mapping[str, Curve], path: Union[str, Path], metric: str = "loss", width: Optional[float] = None
) -> None:
    """Draws a line a training, over updates and over time.

    Args:
        curves: as :func:`curves_of` gives them.
        path: PDF, SVG or PNG to write; its folder is made.
        metric: name of the figure.
        width: of the printed picture, cm; default: for a screen.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: no curve; another ending than those of pictures, or a width without room.
    """
    if not curves:
        raise ValueError("no curve to draw: give runs that were validated")
    check_form(path)
    pyplot = import_pyplot()
    style = style_for(width, SCREEN)
    seconds = max(time for curve in curves.values() for _, time, _ in curve)
    _, unit, name = next(row for row in UNITS if seconds >= row[0])
    with pyplot.rc_context(style):
        inches = style["figure.figsize"][0]
        beside = inches >= BESIDE * CM
        size = (inches, 0.42 * inches + 0.6) if beside else (inches, 1.2 * inches + 0.6)
        grid = {"nrows": 1, "ncols": 2} if beside else {"nrows": 2, "ncols": 1}
        figure, (by_update, by_time) = pyplot.subplots(**grid, figsize=size, sharey=True, layout="constrained")
        for number, (label, curve) in enumerate(curves.items()):
            updates, times, values = zip(*curve)
            look = {**line_look(number), "linewidth": 1.4, "markersize": 4, "markevery": _marked(len(curve))}
            by_update.plot(updates, values, label=as_label(label), **look)
            by_time.plot([time / unit for time in times], values, **look)
        by_update.set(xlabel="updates", ylabel=f"{metric} of the validation")
        by_time.set(xlabel=f"time ({name})")
        if not beside:
            by_time.set(ylabel=f"{metric} of the validation")
        _legend(figure, by_update, inches)
        save_figure(figure, path)
        pyplot.close(figure)


def _marked(count: int) -> int:
    """Every so many points have a marker: one that is hidden among others tells nothing."""
    return math.ceil(count / 12)


def _legend(figure: Any, axes: Any, inches: float) -> None:
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels))
    columns = max(1, min(len(labels), int(inches / (0.6 + 0.075 * longest))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize="small", handlelength=3.2)
