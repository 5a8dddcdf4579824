"""A picture of a long recording: when each word of its translation was written, against the speech, by sentences.

A sentence of the references is a box: as wide as its speech, as high as the words that belong to it. Along the dotted
line in it a translation would be spread evenly over the speech; how far to the right of that its words are, they lag.
"""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from leap_fairseq.report.staircase import NAMES
from leap_fairseq.report.style import GREY, PALETTE, as_text, check_form, import_pyplot, save_figure, style_for
from leap_fairseq.scoring.instances import Instance
from leap_fairseq.scoring.long_form import numbers_of_words
from leap_fairseq.scoring.long_references import ReferenceSentence
from leap_fairseq.scoring.resegmentation import CLOSING, SENTENCE_ENDS
from leap_fairseq.scoring.segmenters import BY_EDITS, Cut

SCREEN = 7.2
"""Width of the picture on a screen, inches."""

WORD, HEIGHTS = 0.05, (3.2, 9.5)
"""Height of a word, and of the picture, inches."""


class TalkSentence(NamedTuple):
    """A sentence of the translation of a recording.

    Attributes:
        numbers: of its words, from 0.
        times: when each was written, s.
        begin: of its speech, s; None without references.
        end: likewise.
        text: of the reference; empty without.
    """

    numbers: Sequence[int]
    times: List[float]
    begin: Optional[float] = None
    end: Optional[float] = None
    text: str = ""


def sentences_of(
    instance: Instance, references: Optional[Sequence[ReferenceSentence]] = None, cut: Cut = BY_EDITS.cut
) -> List[TalkSentence]:
    """The sentences of a translation: those of the references, or what ends in a full stop or the like.

    Args:
        instance: what was written of the recording.
        references: its sentences, in the order of time.
        cut: splits the words onto them, see `segmenters`.

    Raises:
        ValueError: the unit is spm, without a model.
    """
    times = [delay / 1000 for delay in instance.delays]
    if references is None:
        ends = [i + 1 for i, word in enumerate(instance.written) if word.rstrip(CLOSING).endswith(SENTENCE_ENDS)]
        ends += [len(times)] if times and ends[-1:] != [len(times)] else []
        return [TalkSentence(range(a, b), times[a:b]) for a, b in zip([0, *ends], ends)]
    found = []
    for numbers, sentence in zip(numbers_of_words(instance, references, cut), references):
        begin, end = sentence.offset / 1000, (sentence.offset + sentence.duration) / 1000
        found.append(TalkSentence(numbers, [times[i] for i in numbers], begin, end, sentence.target))
    return found


def plot_talk(
    instance: Instance,
    sentences: Sequence[TalkSentence],
    path: Union[str, Path],
    span: Optional[Tuple[float, float]] = None,
    title: Optional[str] = None,
    width: Optional[float] = None,
) -> None:
    """Draws the words of a recording over time, dots that are full in one sentence and hollow in the next.

    Args:
        instance: what was written of the recording.
        sentences: as `sentences_of` finds them.
        path: PDF, SVG or PNG to write; its folder is made.
        span: seconds of speech to draw, from and to; default: all.
        title: above the picture; default: the recording, its words and sentences.
        width: of the printed picture, cm; default: for a screen.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: no word in this span; another ending than those of pictures, or a width without room.
    """
    check_form(path)
    if not instance.delays:
        raise ValueError(f"recording {instance.index} has no written word; choose another (--index)")
    lengths = [instance.delays[-1] / 1000, instance.source_length / 1000, *(s.end for s in sentences if s.end)]
    start, stop = span or (0.0, 1.01 * max(length for length in lengths if length == length))
    drawn = [sentence for sentence in sentences if _is_within(sentence, start, stop)]
    numbers = [i for s in drawn for i, time in zip(s.numbers, s.times) if start <= time <= stop]
    if not numbers:
        raise ValueError(f"no word was written from {start:g} to {stop:g} s: choose another span (--seconds)")
    pyplot, style = import_pyplot(), style_for(width, SCREEN)
    with pyplot.rc_context(style):
        height = min(max(HEIGHTS[0], 1.4 + WORD * (max(numbers) + 1 - min(numbers))), HEIGHTS[1])
        figure, axes = pyplot.subplots(figsize=(style["figure.figsize"][0], height), layout="constrained")
        axes.set(xlim=(start, stop), ylim=(min(numbers), max(numbers) + 2))
        axes.set(xlabel="speech (s)", ylabel=f"{NAMES[instance.unit.name]} written")
        axes.grid(False)
        for sentence in drawn:
            _draw_sentence(axes, sentence, sentences.index(sentence) % 2)
        name = Path(instance.recording).stem or f"recording {instance.index}"
        text = f"{as_text(name)}: {len(instance.delays)} {NAMES[instance.unit.name]}, {len(sentences)} sentences"
        axes.set_title(text if title is None else title, fontsize="medium", loc="left", wrap=True)
        _legend(figure, instance, with_speech=any(sentence.text for sentence in drawn))
        _write_references(axes, drawn)
        save_figure(figure, path)
        pyplot.close(figure)


def _is_within(sentence: TalkSentence, start: float, stop: float) -> bool:
    times = sentence.times if sentence.begin is None else [*sentence.times, sentence.begin, sentence.end]
    return bool(times) and min(times) <= stop and max(times) >= start


def _draw_sentence(axes: Any, sentence: TalkSentence, is_even: int) -> None:
    if sentence.begin is not None and len(sentence.numbers):
        from matplotlib.patches import Rectangle

        bottom, count = sentence.numbers[0] + 0.5, len(sentence.numbers)
        corner, size = (sentence.begin, bottom), (sentence.end - sentence.begin, count)
        axes.add_patch(Rectangle(corner, *size, facecolor="#ececec", edgecolor=GREY, linewidth=0.6, zorder=1))
        ends = (sentence.begin, sentence.end), (bottom, bottom + count)
        axes.plot(*ends, color=GREY, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=2)
    elif sentence.begin is None:
        axes.axhline(sentence.numbers[-1] + 1.5, color="#c0c0c0", linewidth=0.6, zorder=1)
    counts = [number + 1 for number in sentence.numbers]
    axes.plot(sentence.times, counts, **_dots(is_even), zorder=3)


def _dots(is_even: int) -> Dict[str, Any]:
    colour = PALETTE[is_even]
    filling = "white" if is_even else colour
    look = {"markerfacecolor": filling, "markeredgecolor": colour, "markersize": 3.2, "markeredgewidth": 0.9}
    return {**look, "marker": "s" if is_even else "o", "linestyle": ""}


def _legend(figure: Any, instance: Instance, with_speech: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    what = NAMES[instance.unit.name]
    sides = enumerate(("odd", "even"))
    handles = [Line2D([], [], **_dots(is_even), label=f"{what} of {side} sentences") for is_even, side in sides]
    if with_speech:
        box = {"facecolor": "#ececec", "edgecolor": GREY, "linewidth": 0.6}
        handles.append(Patch(**box, label="a sentence: its speech, its words"))
        look = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (1, 1.5))}
        handles.append(Line2D([], [], **look, label="spread evenly over its speech"))
    columns = 2 if figure.get_figwidth() > 5 else 1
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize="small")


def _write_references(axes: Any, sentences: Sequence[TalkSentence]) -> None:
    """Writes each reference on the wider side of its sentence, as much of it as there is room for."""
    axes.figure.draw_without_rendering()
    inside, to_pixels, dpi = axes.get_window_extent(), axes.transData.transform, axes.figure.dpi
    for sentence in (sentence for sentence in sentences if sentence.text and sentence.times):
        ends = [sentence.begin, sentence.end, *sentence.times]
        (left, bottom), (right, top) = (
            to_pixels((pick(ends), number + 0.5))
            for pick, number in ((min, sentence.numbers[0]), (max, sentence.numbers[-1] + 1))
        )
        gap = 5 * dpi / 72
        is_left = left - inside.x0 > inside.x1 - right
        place, room = (left - gap, left - inside.x0 - gap) if is_left else (right + gap, inside.x1 - right - gap)
        text = axes.text(0, 0, "", fontsize=6.5, ha="right" if is_left else "left", va="center", zorder=4)
        text.set_in_layout(False)
        text.set_position(axes.transData.inverted().transform((place, (bottom + top) / 2)))
        if not _shorten(text, sentence.text, room, top - bottom, inside):
            text.remove()


def _shorten(text: Any, wanted: str, room: float, height: float, inside: Any) -> bool:
    """Cuts a text to its room in pixels; whether there is any for a word."""
    words = as_text(wanted).split()
    for count in range(len(words), 0, -1):
        text.set_text(" ".join(words[:count]) + (" …" if count < len(words) else ""))
        box = text.get_window_extent()
        if box.height > height or box.y0 < inside.y0 or box.y1 > inside.y1:
            return False
        if box.width <= room:
            return True
    return False
