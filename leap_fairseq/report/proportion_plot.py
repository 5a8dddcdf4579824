"""A picture of proportions: P_k of the speech over its time, and P_q of each written piece at the time of its writing.

Attention is re-weighted by cos(pi/2 * (P_q - P_k)), so a piece prefers the frames whose line is at the height of its
dot. A panel a decoder layer, and one for the self-attention of the encoder's last layer, under one axis of time.
"""

from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple, Union

from torch import Tensor

from leap_fairseq.streaming.detokenizer import WORD_BOUNDARY
from leap_fairseq.report.plots import GREY, PALETTE, STYLE, import_pyplot, save_figure
from leap_fairseq.streaming.proportions import KINDS, Proportions, SentenceProportions
from leap_fairseq.streaming.translator import SAMPLES_PER_FRAME
from leap_fairseq.speech import SAMPLE_RATE

FRAME = SAMPLES_PER_FRAME / SAMPLE_RATE
"""Speech of an encoder frame, s."""

QUERY, KEY = PALETTE[1], PALETTE[0]

LABEL_INCHES = 0.19
"""Room of an upright label of 9 points, with a little air."""

WIDTHS = (7.2, 16.0)


def plot_proportions(
    proportions: SentenceProportions, path: Union[str, Path], layer: Optional[int] = None, title: str = ""
) -> None:
    """Draws the proportions of one sentence; lines and dots are means over the heads, bands and bars their range.

    Pieces that were written at one time, as those after the end of the source are, stand side by side behind it.

    Args:
        proportions: of :func:`leap_fairseq.streaming.proportions.collect_proportions`.
        path: PNG (or PDF, SVG) to write; its folder is made.
        layer: of the decoder, 0 = the bottommost, as fairseq counts; default: a panel each.
        title: above the picture; default: none.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: the cross-attention has no proportions, or the decoder has no such layer.
    """
    layers = _layers(proportions, layer)
    pyplot = import_pyplot()
    times, end = _writing_times(proportions), proportions.source_length / 1000
    width, font = _width(_span(times, end), proportions.ratio * FRAME)
    panels = len(layers) + bool(proportions.encoder)
    with pyplot.rc_context(STYLE):
        size = (width, 1.5 + (1.7 if panels < 4 else 1.3) * panels)
        figure, axes = pyplot.subplots(panels, 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
        column = list(axes[:, 0])
        for panel in column:
            _prepare(panel, times, end)
        for panel, number in zip(column, layers):
            _draw_cross(panel, times, proportions.cross[number])
            panel.set_ylabel(f"cross-attention\ndecoder layer {number}", fontsize=9)
        if proportions.encoder:
            for side, colour in zip(proportions.encoder[-1], (QUERY, KEY)):
                _draw_frames(column[-1], side, colour)
            column[-1].set_ylabel(f"self-attention\nencoder layer {len(proportions.encoder) - 1}", fontsize=9)
        _write_pieces(column[0], times, proportions.pieces, font)
        _write_seconds(column[-1], end)
        figure.legend(handles=_legend(proportions), loc="outside lower center", ncols=2, fontsize=9, columnspacing=1.4)
        if title:
            figure.suptitle(title, fontsize=10)
        save_figure(figure, path)
        pyplot.close(figure)


def _layers(proportions: SentenceProportions, layer: Optional[int]) -> List[int]:
    """The decoder layers to draw."""
    count = len(proportions.cross)
    if not count:
        others = [name for name, kind in zip(("encoder", "decoder"), proportions.kinds) if kind in KINDS]
        raise ValueError(
            f"the cross-attention of this model is {proportions.kinds[2]}, which has no proportions to draw"
            f"{' (its ' + ' and '.join(others) + ' self-attention has some)' if others else ''}: take a model with "
            "--decoder-cross-attention leap (learned proportions) or cosformer (static ones)"
        )
    if layer is None:
        return list(range(count))
    if not 0 <= layer < count:
        raise ValueError(f"the decoder has no layer {layer}: choose --layer from 0 to {count - 1}")
    return [layer]


def _writing_times(proportions: SentenceProportions) -> List[float]:
    """Where each piece stands, s: its delay, or one pre-decision behind the piece before it if that is later."""
    step, times = proportions.ratio * FRAME, []
    for delay in proportions.delays:
        times.append(max(delay / 1000, times[-1] + step if times else 0.0))
    return times


def _width(span: float, step: float) -> Tuple[float, float]:
    """Width of the figure, inches, in which labels a step apart do not touch, and their size, points."""
    wanted = 1.2 + span / step * LABEL_INCHES
    width = min(max(wanted, WIDTHS[0]), WIDTHS[1])
    return width, min(9.0, 9.0 * width / wanted)


def _span(times: Sequence[float], end: float) -> float:
    """Length of the axis, s."""
    return 1.02 * max(end, times[-1])


def _prepare(axes: Any, times: Sequence[float], end: float) -> None:
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks((0, 0.5, 1))
    axes.set_xlim(0, _span(times, end))
    axes.grid(False, axis="x")
    for time in times:
        axes.axvline(time, color=STYLE["grid.color"], linewidth=0.8, zorder=0)
    axes.axvline(end, color=GREY, linestyle="--", linewidth=1.3, zorder=1)


def _draw_cross(axes: Any, times: Sequence[float], proportions: Proportions) -> None:
    """Frames as a line, pieces as dots."""
    _draw_frames(axes, proportions.key, KEY)
    low, mean, high = _range(proportions.query)
    bars = (mean - low, high - mean)
    axes.errorbar(times, mean, bars, fmt="o", color=QUERY, markersize=4.5, elinewidth=1.4, zorder=4)


def _draw_frames(axes: Any, proportion: Tensor, colour: str) -> None:
    """Each frame at its middle: the mean over the heads, and a band from the lowest to the highest."""
    low, mean, high = _range(proportion)
    middles = [(index + 0.5) * FRAME for index in range(len(mean))]
    axes.fill_between(middles, low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)
    axes.plot(middles, mean, color=colour, linewidth=1.6, zorder=3)


def _range(proportion: Tensor) -> Tuple[Any, Any, Any]:
    """Lowest, mean and highest over the heads, numpy [T]."""
    # A mean of equal numbers may be rounded beyond them, and a bar has no negative length.
    low, high = proportion.amin(1), proportion.amax(1)
    return low.numpy(), proportion.mean(1).clamp(low, high).numpy(), high.numpy()


def _write_pieces(axes: Any, times: Sequence[float], pieces: Sequence[str], font: float) -> None:
    """Writes each piece upright above its dots."""
    # The boundary as a line on the base: its own sign would lie beside the upright letters. A dollar begins a formula.
    labels = [piece.replace(WORD_BOUNDARY, "_").replace("$", r"\$") for piece in pieces]
    top = axes.secondary_xaxis("top")
    top.set_xticks(times, labels, rotation=90, fontsize=font)
    top.tick_params(length=0, pad=2)
    top.spines["top"].set_visible(False)


def _write_seconds(axes: Any, end: float) -> None:
    from matplotlib.ticker import MaxNLocator

    # Behind the end of the source no time passes any more.
    axes.set_xticks([tick for tick in MaxNLocator(8).tick_values(0, end) if 0 <= tick <= end])
    axes.set_xlabel("speech (s)")


def _legend(proportions: SentenceProportions) -> List[Any]:
    from matplotlib.lines import Line2D

    dot = {"marker": "o", "markersize": 4.5, "linestyle": ""}
    handles = [
        Line2D([], [], color=QUERY, label="$P_q$ of a written piece (mean, range of heads)", **dot),
        Line2D([], [], color=KEY, linewidth=1.6, label="$P_k$ of the speech"),
    ]
    if proportions.encoder:
        handles.append(Line2D([], [], color=QUERY, linewidth=1.6, label="$P_q$ of the speech"))
    late = proportions.delays[-1] >= proportions.source_length
    ends = "source ends; all pieces that follow come then" if late else "source ends"
    return [*handles, Line2D([], [], color=GREY, linestyle="--", linewidth=1.3, label=ends)]
