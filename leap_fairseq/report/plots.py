"""Two pictures of simultaneous translation: quality against latency, and one sentence as a staircase.

matplotlib is imported only when a picture is drawn (`pip install 'leap-fairseq[plots]'`), without a display.
"""

import logging
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple, Union

from leap_fairseq.scoring.instances import Instance

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours told apart with every kind of colour blindness, and by lightness. Source: Okabe & Ito 2008."""

MARKERS = ("o", "s", "^", "D", "v", "P")

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
}

GREY = "#555555"


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
        rows: one a run, as `leap_fairseq.scoring.run.score_run` gives them, with `group` and `label` added.
        path: PNG (or PDF, SVG) to write; its folder is made.
        quality: column of the y axis.
        latency: column of the x axis, ms; the dashed line is drawn where rows hold ``latency + "_CA"``.
        group: column that names the line.
        label: column written beside each point, as "k = 3"; left out where rows do not hold it.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: no row, or a row without one of the columns.
    """
    _require_columns(rows, (group, quality, latency))
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


def plot_staircase(instance: Instance, path: Union[str, Path], title: str = "") -> None:
    """Draws one sentence: time read from the source to the right, written words upwards.

    A flat stretch is reading, a rise is writing; the dashed line ends the source, so what rises there was
    written when everything had been heard.

    Args:
        instance: a sentence of instances.log with at least one word.
        path: PNG (or PDF, SVG) to write; its folder is made.
        title: above the picture; default: the sentence's number, its words and its LAAL.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: nothing was written, or words and delays do not match.
    """
    if not instance.is_scorable:
        raise ValueError(f"sentence {instance.index} has no written word; choose another (--index)")
    words, delays = instance.written(), instance.delays
    pyplot = import_pyplot()
    with pyplot.rc_context(STYLE):
        height = min(16.0, 1.7 + 0.27 * len(words))
        figure, axes = pyplot.subplots(figsize=(7.2, max(2.8, height)), layout="constrained")
        _draw_staircase(axes, words, delays, instance.source_length)
        axes.set_title(title or _title(instance), fontsize=10, loc="left")
        save_figure(figure, path)
        pyplot.close(figure)


def _draw_staircase(axes: Any, words: List[str], delays: List[float], source_length: float) -> None:
    end = max(source_length, delays[-1])
    times = [0.0, *delays, end]
    counts = [0, *range(1, len(words) + 1), len(words)]
    axes.fill_between(times, counts, step="post", color=PALETTE[0], alpha=0.08, linewidth=0)
    axes.step(times, counts, where="post", color=PALETTE[0], linewidth=1.8, zorder=3)
    axes.plot(delays, range(1, len(words) + 1), "o", color=PALETTE[0], markersize=4.5, zorder=4)
    axes.axvline(source_length, color=PALETTE[1], linestyle="--", linewidth=1.3, zorder=2)
    axes.set_xlabel("source read (ms)")
    axes.set_ylabel("words written")
    axes.set_xlim(0, end * 1.06)
    axes.set_ylim(0, len(words) + 0.8)
    axes.yaxis.get_major_locator().set_params(integer=True)
    _write_words(axes, words, delays)
    _write_beside(axes, "source ends", source_length, 0.25, 5, PALETTE[1], va="bottom", rotation=90)


def _write_words(axes: Any, words: List[str], delays: List[float]) -> None:
    """Writes each word left of its dot, where a staircase leaves room; right of it where the axis is too near."""
    points_per_ms = axes.figure.get_figwidth() * 72 * 0.85 / axes.get_xlim()[1]
    for count, (word, delay) in enumerate(zip(words, delays), start=1):
        width = 5.6 * len(word) + 8  # letters of 9 points
        fits = delay * points_per_ms > width
        _write_beside(axes, word, delay, count, -7 if fits else 7, "black", va="center", ha="right" if fits else "left")


def _write_beside(axes: Any, text: str, x: float, y: float, offset: float, colour: str, **alignment: Any) -> None:
    axes.annotate(
        text, (x, y), xytext=(offset, 0), textcoords="offset points", color=colour, fontsize=9, zorder=5, **alignment
    )


def _title(instance: Instance) -> str:
    laal = instance.latency("word")["LAAL"]
    late = sum(1 for delay in instance.delays if delay >= instance.source_length)
    return (
        f"Sentence {instance.index}: {len(instance.delays)} words, LAAL {laal:.0f} ms, "
        f"{len(instance.delays) - late} written before the source ended"
    )


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


def import_pyplot() -> Any:
    """matplotlib's pyplot, which draws without a display.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("drawing needs matplotlib: pip install 'leap-fairseq[plots]'") from error
    matplotlib.use("Agg")
    # fairseq opens the root logger for everything, and matplotlib then reports on each font of the system.
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Union[str, Path]) -> None:
    """Writes a picture in the form that its ending names; its folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
