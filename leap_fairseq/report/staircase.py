"""A picture of one sentence: when it was heard, and when each word was written."""

from pathlib import Path
from typing import Any, List, Union

from leap_fairseq.report.style import PALETTE, STYLE, import_pyplot, save_figure
from leap_fairseq.scoring.instances import Instance

NAMES = {"word": "words", "char": "characters", "spm": "pieces"}
"""What is written in each unit of latency."""


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
        ValueError: nothing was written, or the unit is spm, without a model and a title.
    """
    if not instance.is_scorable:
        raise ValueError(f"sentence {instance.index} has no written word; choose another (--index)")
    words, delays = instance.written, instance.delays
    pyplot = import_pyplot()
    with pyplot.rc_context(STYLE):
        height = min(16.0, 1.7 + 0.27 * len(words))
        figure, axes = pyplot.subplots(figsize=(7.2, max(2.8, height)), layout="constrained")
        _draw_staircase(axes, words, delays, instance.source_length, NAMES[instance.unit.name])
        axes.set_title(title or _title(instance), fontsize=10, loc="left")
        save_figure(figure, path)
        pyplot.close(figure)


def _draw_staircase(axes: Any, words: List[str], delays: List[float], source_length: float, what: str) -> None:
    end = max(source_length, delays[-1])
    times = [0.0, *delays, end]
    counts = [0, *range(1, len(words) + 1), len(words)]
    axes.fill_between(times, counts, step="post", color=PALETTE[0], alpha=0.08, linewidth=0)
    axes.step(times, counts, where="post", color=PALETTE[0], linewidth=1.8, zorder=3)
    axes.plot(delays, range(1, len(words) + 1), "o", color=PALETTE[0], markersize=4.5, zorder=4)
    axes.axvline(source_length, color=PALETTE[1], linestyle="--", linewidth=1.3, zorder=2)
    axes.set_xlabel("source read (ms)")
    axes.set_ylabel(f"{what} written")
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
    laal = instance.latency()["LAAL"]
    late = sum(1 for delay in instance.delays if delay >= instance.source_length)
    return (
        f"Sentence {instance.index}: {len(instance.delays)} {NAMES[instance.unit.name]}, LAAL {laal:.0f} ms, "
        f"{len(instance.delays) - late} written before the source ended"
    )
