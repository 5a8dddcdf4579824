"""A picture of quality against latency: a line a system, a point a policy.

A line that counts the time of computing too has the look of its system, thin and with hollow markers.
"""

import math
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from leap_fairseq.report.labels import Label, place_labels
from leap_fairseq.report.style import GREY, as_label, check_form, import_pyplot, line_look, save_figure, style_for

ERRORS = ("WER", "CER")

SCREEN = 6.4
"""Width of the picture on a screen, inches."""


def plot_quality_latency(
    rows: Sequence[Mapping[str, Any]],
    path: Union[str, Path],
    quality: str = "BLEU",
    latency: str = "LAAL",
    group: str = "attention",
    label: str = "waitk",
    width: Optional[float] = None,
) -> None:
    """Draws a line a group, `quality` over `latency`, and with hollow markers over the computation-aware latency.

    Args:
        rows: one a run, as :func:`leap_fairseq.scoring.run.score_run` gives them, with `group` and `label` added.
        path: PDF, SVG or PNG to write; its folder is made.
        quality: column of the y axis.
        latency: column of the x axis, ms; the hollow line is drawn where all rows of a group hold ``latency + "_CA"``,
            and not nan, as of logs without times of computing.
        group: column that names the line.
        label: column written beside points, as "k = 3", where there is room; left out where rows do not hold it.
        width: of the printed picture, cm; default: for a screen.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: no row, a row without one of the columns, or without a number where one is drawn; another ending
            than those of pictures, or a width without room.
    """
    check_form(path)
    _require_columns(rows, (group, quality, latency))
    aware = f"{latency}_CA"
    rows = [{name: value for name, value in row.items() if name != aware or value == value} for row in rows]
    _require_numbers(rows, (quality, latency, aware))
    pyplot = import_pyplot()
    style = style_for(width, SCREEN)
    with pyplot.rc_context(style):
        inches = style["figure.figsize"][0]
        groups, columns = _grouped(rows, group, latency), 1 if inches < 4 else 2
        height = 0.45 * inches + 0.9 + 0.2 * (len(groups) + 2) / columns  # the legend has a row or two more
        figure, axes = pyplot.subplots(figsize=(inches, height), layout="constrained")
        for number, (name, line) in enumerate(groups.items()):
            _draw_line(axes, line, latency, quality, number, name)
            if all(aware in row for row in line):
                _draw_line(axes, line, aware, quality, number)
        axes.set_xlabel(f"{latency} (ms)")
        axes.set_ylabel(f"{quality} ({'lower' if quality in ERRORS else 'higher'} is better)")
        axes.margins(x=0.08, y=0.14)
        _legend(axes, latency, columns, any(all(aware in row for row in line) for line in groups.values()))
        _write_labels(axes, rows, latency, quality, label)
        save_figure(figure, path)
        pyplot.close(figure)


def _draw_line(
    axes: Any, line: List[Mapping[str, Any]], x: str, y: str, number: int, name: Optional[str] = None
) -> None:
    aware, look = x.endswith("_CA"), line_look(number)
    axes.plot(
        [row[x] for row in line],
        [row[y] for row in line],
        **look,
        markersize=6,
        linewidth=0.9 if aware else 1.8,
        markerfacecolor="white" if aware else look["color"],
        label=name and as_label(name),
        zorder=2 if aware else 3,
    )


def _write_labels(axes: Any, rows: Sequence[Mapping[str, Any]], x: str, y: str, label: str) -> None:
    """Names the points of each `label` twice: at the best, and at the worst where that is another line."""
    points: Dict[str, List[Mapping[str, Any]]] = {}
    for row in rows:
        if label in row:
            points.setdefault(str(row[label]), []).append(row)
    best = [(name, max(same, key=lambda row: row[y])) for name, same in points.items()]
    worst = [(name, min(same, key=lambda row: row[y])) for name, same in points.items() if len(same) > 1]
    sign = "k" if label == "waitk" else label
    labels = [Label(f"{sign} = {as_label(name)}", row[x], row[y]) for name, row in best + worst]
    place_labels(axes, labels, fontsize="small", color=GREY, zorder=5)


def _legend(axes: Any, latency: str, columns: int, computation_aware: bool) -> None:
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    if computation_aware:
        for width, filling, name in ((1.8, GREY, latency), (0.9, "white", f"{latency}_CA, counts computing too")):
            handles.append(Line2D([], [], color=GREY, linewidth=width, marker="o", markerfacecolor=filling))
            labels.append(name)
    # Above the axes: lines may run through each of their corners.
    look = {"fontsize": "small", "handlelength": 3.2}
    axes.figure.legend(handles, labels, loc="outside upper left", ncols=columns, **look)


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
            has = f"it has {', '.join(rows[0])}: choose others (--quality, --latency, --group)"
            raise ValueError(f"the table has no column {column}; {has}")


def _require_numbers(rows: Sequence[Mapping[str, Any]], columns: Tuple[str, ...]) -> None:
    for number, row in enumerate(rows, start=1):
        for column in (column for column in columns if column in row):
            value = row[column]
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                remedy = "a run without a word has no latency: leave the row out"
                raise ValueError(f"row {number} of the table has {value!r} for {column}, which is no number: {remedy}")
