"""The proportions of one sentence, and a picture of them over time: P_k of the speech, and P_q of each written piece.

Attention is re-weighted by cos(pi/2 * (P_q - P_k)), so a piece prefers the frames whose line is at the height of its
dot. A panel a decoder layer, and one for the self-attention of the encoder's last layer, under one axis of time.

Shape legend: T written tokens, S encoder frames, H heads.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from leap_fairseq.report.panels import layers_to_draw, piece_label
from leap_fairseq.report.style import GREY, PALETTE, STYLE, check_form, import_pyplot, save_figure, style_for

QUERY, KEY, QUERY_DASHES = PALETTE[1], PALETTE[0], (0, (2, 1.5))

LABEL_INCHES = 0.19
"""Room of an upright label of 9 points, with a little air."""

WIDTHS = (7.2, 16.0)

MARGIN = 1.2
"""Beside the axes, inches."""


class Proportions(NamedTuple):
    """Of one attention.

    Attributes:
        query: P_q, float32 [T, H] in [0, 1]; [S, H] in the encoder.
        key: P_k, float32 [S, H] in [0, 1]; [T, H] in the self-attention of the decoder.
    """

    query: np.ndarray
    key: np.ndarray


@dataclass(frozen=True)
class SentenceProportions:
    """The proportions of one sentence, a member a layer, from the bottommost.

    Attributes:
        encoder: of the self-attention over the speech that had been read when the last token was written.
        decoder: of the self-attention over the text.
        cross: of the attention of the text to the speech.
        kinds: names of the three attentions, in this order. One without proportions has no layers above.
        pieces: the written tokens as the dictionary names them, "</s>" included. Query i writes piece i.
        delays: audio that had been received when each was written, ms.
        source_length: length of the recording, ms.
        policy: which one it was, such as wait-5.
        decision_frames: frames between two of its decisions.
        frame_ms: length of a frame, ms.
    """

    encoder: Tuple[Proportions, ...]
    decoder: Tuple[Proportions, ...]
    cross: Tuple[Proportions, ...]
    kinds: Tuple[str, str, str]
    pieces: Tuple[str, ...]
    delays: Tuple[float, ...]
    source_length: float
    policy: str
    decision_frames: int
    frame_ms: float

    @property
    def step(self) -> float:
        """Speech between two decisions, s."""
        return self.decision_frames * self.frame_ms / 1000


def plot_proportions(
    proportions: SentenceProportions,
    path: Union[str, Path],
    layer: Optional[int] = None,
    title: str = "",
    width: Optional[float] = None,
) -> None:
    """Draws the proportions of one sentence; lines and dots are means over the heads, bands and bars their range.

    Pieces that were written at one time, as those after the end of the source are, stand side by side behind it.

    Args:
        proportions: as :func:`leap_fairseq.streaming.proportions.collect_proportions` collects them.
        path: PDF, SVG or PNG to write; its folder is made.
        layer: of the decoder, 0 = the bottommost, as fairseq counts; default: a panel each.
        title: above the picture; default: none.
        width: of the printed picture, cm; default: for a screen, as wide as the labels of the pieces need.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: the cross-attention has no proportions, or the decoder has no such layer; another ending than those
            of pictures, or a width without room.
    """
    check_form(path)
    layers = _layers(proportions, layer)
    pyplot = import_pyplot()
    times, end = _writing_times(proportions), proportions.source_length / 1000
    inches, font = _width(_span(times, end), proportions.step, width and style_for(width, 0)["figure.figsize"][0])
    panels = len(layers) + bool(proportions.encoder)
    with pyplot.rc_context(style_for(width, inches)):
        size = (inches, 1.5 + (1.7 if panels < 4 else 1.3) * panels)
        figure, axes = pyplot.subplots(panels, 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
        column, small = list(axes[:, 0]), "small" if width else 9
        for panel in column:
            _prepare(panel, times, end)
        for panel, number in zip(column, layers):
            _draw_cross(panel, times, proportions.cross[number], proportions.frame_ms)
            panel.set_ylabel(f"cross-attention\ndecoder layer {number}", fontsize=small)
        if proportions.encoder:
            for side, colour, dashes in zip(proportions.encoder[-1], (QUERY, KEY), (QUERY_DASHES, "-")):
                _draw_frames(column[-1], side, colour, proportions.frame_ms, dashes)
            column[-1].set_ylabel(f"self-attention\nencoder layer {len(proportions.encoder) - 1}", fontsize=small)
        _write_pieces(column[0], times, proportions.pieces, font)
        _write_seconds(column[-1], end)
        look = {"ncols": 2 if inches > WIDTHS[0] - 1 else 1, "fontsize": small, "columnspacing": 1.4}
        figure.legend(handles=_legend(proportions), loc="outside lower center", **look)
        if title:
            figure.suptitle(title, fontsize=10)
        save_figure(figure, path)
        pyplot.close(figure)


def _layers(proportions: SentenceProportions, layer: Optional[int]) -> List[int]:
    """The decoder layers to draw."""
    count = len(proportions.cross)
    if not count:
        others = [name for name in ("encoder", "decoder") if getattr(proportions, name)]
        raise ValueError(
            f"the cross-attention of this model is {proportions.kinds[2]}, which has no proportions to draw"
            f"{' (its ' + ' and '.join(others) + ' self-attention has some)' if others else ''}: take a model with "
            "--decoder-cross-attention leap (learned proportions) or cosformer (static ones)"
        )
    return layers_to_draw(count, layer)


def _writing_times(proportions: SentenceProportions) -> List[float]:
    """Where each piece stands, s: its delay, or one decision behind the piece before it if that is later."""
    times: List[float] = []
    for delay in proportions.delays:
        times.append(max(delay / 1000, times[-1] + proportions.step if times else 0.0))
    return times


def _width(span: float, step: float, given: Optional[float] = None) -> Tuple[float, float]:
    """Width of the figure, inches, in which labels a step apart do not touch, and their size, points."""
    room = span / step * LABEL_INCHES
    width = given or min(max(MARGIN + room, WIDTHS[0]), WIDTHS[1])
    return width, min(9.0, 9.0 * (width - MARGIN) / room)


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


def _draw_cross(axes: Any, times: Sequence[float], proportions: Proportions, frame_ms: float) -> None:
    """Frames as a line, pieces as dots."""
    _draw_frames(axes, proportions.key, KEY, frame_ms)
    low, mean, high = _range(proportions.query)
    bars = (mean - low, high - mean)
    axes.errorbar(times, mean, bars, fmt="o", color=QUERY, markersize=4.5, elinewidth=1.4, zorder=4)


def _draw_frames(axes: Any, proportion: np.ndarray, colour: str, frame_ms: float, dashes: Any = "-") -> None:
    """Each frame at its middle: the mean over the heads, and a band from the lowest to the highest."""
    low, mean, high = _range(proportion)
    middles = (np.arange(len(mean)) + 0.5) * frame_ms / 1000
    axes.fill_between(middles, low, high, color=colour, alpha=0.16, linewidth=0, zorder=2)
    axes.plot(middles, mean, color=colour, linewidth=1.6, linestyle=dashes, zorder=3)


def _range(proportion: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest, mean and highest over the heads, [T] each."""
    # A mean of equal numbers may be rounded beyond them, and a bar has no negative length.
    low, high = proportion.min(1), proportion.max(1)
    return low, proportion.mean(1).clip(low, high), high


def _write_pieces(axes: Any, times: Sequence[float], pieces: Sequence[str], font: float) -> None:
    """Writes each piece upright above its dots."""
    top = axes.secondary_xaxis("top")
    top.set_xticks(times, list(map(piece_label, pieces)), rotation=90, fontsize=font)
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
        handles.append(Line2D([], [], color=QUERY, linewidth=1.6, linestyle=QUERY_DASHES, label="$P_q$ of the speech"))
    late = proportions.delays[-1] >= proportions.source_length
    ends = "source ends; all pieces that follow come then" if late else "source ends"
    return [*handles, Line2D([], [], color=GREY, linestyle="--", linewidth=1.3, label=ends)]
