"""A picture of a sentence: when it was heard, and when each word was written, by one system or several."""

import math
from pathlib import Path
from typing import Any, List, Mapping, Optional, Sequence, Union

from leap_fairseq.report.style import (
    GREY,
    as_label,
    as_text,
    check_form,
    import_pyplot,
    line_look,
    save_figure,
    style_for,
)
from leap_fairseq.scoring.instances import Instance

NAMES = {"word": "words", "char": "characters", "spm": "pieces"}
"""What is written in each unit of latency."""

SCREEN = 7.2
"""Width of the picture on a screen, inches."""

ROW, HIGHEST = 0.27, 16.0
"""Height of a word, and of the picture, inches."""

SOURCE_ENDS = "the source ends"

LEAST_TYPE = 4.5
"""Points; words that would be smaller are not written."""


def plot_staircase(
    instance: Instance, path: Union[str, Path], title: Optional[str] = None, width: Optional[float] = None
) -> None:
    """Draws one sentence: time read from the source to the right, written words upwards.

    A flat stretch is reading, a rise is writing; the dashed line ends the source, so what rises there was
    written when everything had been heard. A log that does not say where the source ends gives no such line.

    Args:
        instance: a sentence of a log with at least one word.
        path: PDF, SVG or PNG to write; its folder is made.
        title: above the picture; default: the sentence's number, its words and, as far as the log tells it, its LAAL.
        width: of the printed picture, cm; default: for a screen.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: nothing was written, or the unit is spm, without a model and a title; another ending than those of
            pictures, or a width without room.
    """
    _draw({"": instance}, path, title if title is not None else _title, width)


def plot_staircases(
    instances: Mapping[str, Instance], path: Union[str, Path], title: str = "", width: Optional[float] = None
) -> None:
    """Draws one sentence as several systems have translated it, without the words; else as `plot_staircase`.

    Args:
        instances: the same sentence, by the name of the system.
        path: as there.
        title: above the picture.
        width: as there.
    """
    _draw(instances, path, title, width)


def _draw(instances: Mapping[str, Instance], path: Union[str, Path], title: Any, width: Optional[float]) -> None:
    check_form(path)
    for name, instance in instances.items():
        if not instance.delays:
            of = f" of {name}" if name else ""
            raise ValueError(f"sentence {instance.index}{of} has no written word; choose another (--index)")
    first = next(iter(instances.values()))
    text = title(first) if callable(title) else title
    pyplot = import_pyplot()
    style = style_for(width, SCREEN)
    with pyplot.rc_context(style):
        inches, count = style["figure.figsize"][0], max(len(instance.delays) for instance in instances.values())
        height = min(HIGHEST, 1.9 + ROW * count) if len(instances) == 1 else 0.55 * inches + 1
        figure, axes = pyplot.subplots(figsize=(inches, max(2.8, height)), layout="constrained")
        known = {i.source_length for i in instances.values() if not math.isnan(i.source_length)}
        end = max(*known, *(instance.delays[-1] for instance in instances.values()), 0.0)
        for number, (name, instance) in enumerate(instances.items()):
            _draw_steps(axes, instance.delays, end, number, name, mark=len(instances) == 1)
        _dress(axes, sorted(known), count, end)
        axes.set_ylabel(f"{NAMES[first.unit.name]} written")
        if text:
            axes.set_title(text, fontsize="medium", loc="left", wrap=True)
        _legend(figure, axes, len(instances))
        if len(instances) == 1:
            _write_words(axes, first.written, first.delays)
        save_figure(figure, path)
        pyplot.close(figure)


def _draw_steps(axes: Any, delays: Sequence[float], end: float, number: int, name: str, mark: bool) -> None:
    look = line_look(number)
    marker = look.pop("marker")
    counts = list(range(1, len(delays) + 1))
    times = [0.0, *delays, end]
    if mark:
        axes.fill_between(times, [0, *counts, counts[-1]], step="post", color=look["color"], alpha=0.08, linewidth=0)
    axes.step(times, [0, *counts, counts[-1]], where="post", linewidth=1.6, zorder=3, **look)
    dots = {"color": look["color"], "marker": marker, "linestyle": "", "markersize": 4.5, "zorder": 4}
    axes.plot(delays, counts, label=as_label(name) or None, **dots)


def _dress(axes: Any, ends: Sequence[float], count: int, end: float) -> None:
    for number, time in enumerate(ends):
        label = None if number else SOURCE_ENDS
        axes.axvline(time, color=GREY, linestyle=(0, (5, 3)), linewidth=1.2, zorder=2, label=label)
    axes.set_xlabel("source read (ms)")
    axes.set_xlim(0, end * 1.06)
    axes.set_ylim(0, count + 0.8)
    axes.yaxis.get_major_locator().set_params(integer=True)


def _legend(figure: Any, axes: Any, systems: int) -> None:
    """Below, where no word is."""
    from matplotlib.lines import Line2D

    handles, labels = [], []
    if systems > 1:
        for number, line in enumerate(line for line in axes.lines if line.get_linestyle() == "None"):
            handles.append(Line2D([], [], linewidth=1.6, markersize=4.5, **line_look(number)))
            labels.append(line.get_label())
    for line in (line for line in axes.lines if line.get_label() == SOURCE_ENDS):
        handles.append(line)
        labels.append(SOURCE_ENDS)
    columns = max(1, int(figure.get_figwidth() // 1.5))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize="small", handlelength=3.2)


def _write_words(axes: Any, words: List[str], delays: List[float]) -> None:
    """Writes each word left of its dot, where a staircase leaves room; above its step where the axis is too near."""
    axes.figure.draw_without_rendering()
    height = axes.get_window_extent().height / axes.figure.dpi * 72 / axes.get_ylim()[1]
    size = min(9.0, 0.7 * height)
    if size < LEAST_TYPE:
        return
    for count, (word, delay) in enumerate(zip(words, delays), start=1):
        text = axes.annotate(as_text(word), (delay, count), xytext=(-7, 0), textcoords="offset points")
        text.set(ha="right", va="center", fontsize=size, color="black", zorder=5)
        text.set_in_layout(False)
        if text.get_window_extent().x0 < axes.get_window_extent().x0 + 2:
            text.set_position((7, 0.15 * height))
            text.set(ha="left", va="bottom", fontsize=0.85 * size)
            box, right = text.get_window_extent(), axes.get_window_extent().x1
            if box.x1 > right:
                text.set_fontsize(text.get_fontsize() * (right - box.x0) / box.width)


def _title(instance: Instance) -> str:
    facts = [f"{len(instance.delays)} {NAMES[instance.unit.name]}"]
    if instance.is_scorable:
        if instance.reference is not None:
            facts.append(f"LAAL {instance.latency()['LAAL']:.0f} ms")
        early = sum(1 for delay in instance.delays if delay < instance.source_length)
        facts.append(f"{early} written before the source ended")
    return f"Sentence {instance.index}: {', '.join(facts)}"
