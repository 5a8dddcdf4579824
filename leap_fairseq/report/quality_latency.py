"""A picture of quality against latency: a line a system, a point a policy."""

import math
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

from leap_fairseq.report.style import GREY, MARKERS, PALETTE, STYLE, import_pyplot, save_figure


def plot_quality_latency(
    rows: Sequence[Mapping[str, Any]],
    path: Union[str, Path],
    quality: str = "BLEU",
    latency: str = "LAAL",
    group: str = "attention",
    label: str = "waitk",
) -> None:
    """Draws a line a group, `quality` over `latency`, and dashed over the computation-aware latency.

    Args:
        rows: one a run, as :func:`leap_fairseq.scoring.run.score_run` gives them, with `group` and `label` added.
        path: PNG (or PDF, SVG) to write; its folder is made.
        quality: column of the y axis.
        latency: column of the x axis, ms; the dashed line is drawn where rows hold ``latency + "_CA"``.
        group: column that names the line.
        label: column written beside each point, as "k = 3"; left out where rows do not hold it.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: no row, a row without one of the columns, or without a number where one is drawn.
    """
    _require_columns(rows, (group, quality, latency))
    _require_numbers(rows, (quality, latency, f"{latency}_CA"))
    pyplot = import_pyplot()
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
        for number, (name, line) in enumerate(_grouped(rows, group, latency).items()):
            colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
            _draw_line(axes, line, latency, quality, colour=colour, marker=marker, label=name)
            if all(f"{latency}_CA" in row for row in line):
                _draw_line(axes, line, f"{latency}_CA", quality, colour=colour, marker=marker, label=None)
        _write_labels(axes, rows, latency, quality, label)
        axes.set_xlabel(f"{latency} (ms)")
        axes.set_ylabel(f"{quality} (higher is better)")
        axes.margins(x=0.08, y=0.14)
        _legend(axes, latency, any(f"{latency}_CA" in row for row in rows))
        save_figure(figure, path)
        pyplot.close(figure)


def _draw_line(axes: Any, line: List[Mapping[str, Any]], x: str, y: str, colour: str, marker: str, label: Any) -> None:
    aware = x.endswith("_CA")
    axes.plot(
        [row[x] for row in line],
        [row[y] for row in line],
        color=colour,
        marker=marker,
        markersize=6,
        linewidth=1.4 if aware else 2.0,
        linestyle="--" if aware else "-",
        markerfacecolor="white" if aware else colour,
        label=label,
        zorder=2 if aware else 3,
    )


def _write_labels(axes: Any, rows: Sequence[Mapping[str, Any]], x: str, y: str, label: str) -> None:
    """Names the points of each `label` twice: above the best, and below the worst where that is another line."""
    from matplotlib import patheffects

    points: Dict[str, List[Mapping[str, Any]]] = {}
    for row in rows:
        if label in row:
            points.setdefault(str(row[label]), []).append(row)
    for name, same in points.items():
        places = {"best": (max(same, key=lambda row: row[y]), (-5, 4), "right", "bottom")}
        if len(same) > 1:
            places["worst"] = (min(same, key=lambda row: row[y]), (5, -4), "left", "top")
        for row, offset, ha, va in places.values():
            text = axes.annotate(f"k = {name}", (row[x], row[y]), xytext=offset, textcoords="offset points")
            text.set(ha=ha, va=va, fontsize=8.5, color=GREY, zorder=5)
            text.set_path_effects([patheffects.withStroke(linewidth=2.5, foreground="white")])


def _legend(axes: Any, latency: str, computation_aware: bool) -> None:
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    if computation_aware:
        handles.append(Line2D([], [], color=GREY, linewidth=2.0))
        handles.append(Line2D([], [], color=GREY, linewidth=1.4, linestyle="--", marker="o", markerfacecolor="white"))
        labels += [latency, f"{latency}_CA, counts computing too"]
    # Above the axes: lines may run through each of their corners.
    axes.figure.legend(handles, labels, loc="outside upper left", ncols=2, fontsize=9)


def _grouped(rows: Sequence[Mapping[str, Any]], group: str, x: str) -> Dict[str, List[Mapping[str, Any]]]:
    groups: Dict[str, List[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(str(row[group]), []).append(row)
    return {name: sorted(line, key=lambda row: row[x]) for name, line in groups.items()}


def _require_columns(rows: Sequence[Mapping[str, Any]], columns: Tuple[str, ...]) -> None:
    if not rows:
        raise ValueError("no rows to draw")
    for column in columns:
        if any(column not in row for row in rows):
            raise ValueError(f"the table has no column {column}; it has {', '.join(rows[0])}")


def _require_numbers(rows: Sequence[Mapping[str, Any]], columns: Tuple[str, ...]) -> None:
    for number, row in enumerate(rows, start=1):
        for column in (column for column in columns if column in row):
            value = row[column]
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                remedy = "a run without a word has no latency: leave the row out"
                raise ValueError(f"row {number} of the table has {value!r} for {column}, which is no number: {remedy}")
