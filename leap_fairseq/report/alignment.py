"""What a translation looks at in the speech: the weights of its cross-attention, a row a written piece, as a picture.

Frames to the right of the stairs had not been heard. A panel a decoder layer, under one axis of time. The weights of
attention with contrast may be negative; the scale of colours has 0 in its middle.

Shape legend: T written tokens, S encoder frames, H heads.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from leap_fairseq.report.panels import layers_to_draw, piece_label
from leap_fairseq.report.style import PALETTE, check_form, import_pyplot, save_figure, style_for

COLOURS = (PALETTE[4], "#FFFFFF", PALETTE[0], "#00142B")
"""Of negative weights, none, and the largest; in grey, what is dark is positive."""

WHITE_AT = (0.0, 0.5, 0.8, 1.0)
"""Where each of these stands on the scale."""

CAPPED = 0.01
"""Share of the largest weights that have the colour at the end of the scale, so that the others can be told apart."""

SCREEN = 7.2
"""Width of the picture on a screen, inches."""

ROW, HIGHEST = 0.155, 15.0
"""Height of a piece, and of all panels, inches."""

NARROW = {False: "; ", True: "\n"}
"""What stands between the two parts of the legend, in a picture of a column's width too."""

LEAST_TYPE = 4.0
"""Points; pieces that would be smaller are not written."""


@dataclass(frozen=True)
class SentenceAlignment:
    """How one translation read the speech.

    Attributes:
        weights: of the cross-attention of each layer, from the bottommost, float32 [H, T, S]; 0 for frames that had not
            been read. A row sums to 1, less where the floor of the normaliser is active; with contrast, to 1 less the
            contrast of the head.
        read: frames that each token could read, from the first one.
        kind: name of the attention.
        pieces: the written tokens as the dictionary names them, "</s>" included.
        source_length: length of the recording, ms.
        frame_ms: length of a frame, ms.
    """

    weights: Tuple[np.ndarray, ...]
    read: Tuple[int, ...]
    kind: str
    pieces: Tuple[str, ...]
    source_length: float
    frame_ms: float

    def mean(self, layer: int) -> np.ndarray:
        """The mean over the heads of a layer, [T, S], with NaN for frames that had not been read."""
        frames = np.arange(self.weights[layer].shape[2])
        return np.where(frames < np.array(self.read)[:, None], self.weights[layer].mean(0), np.nan)


def plot_alignment(
    alignment: SentenceAlignment,
    path: Union[str, Path],
    layer: Optional[int] = None,
    title: str = "",
    width: Optional[float] = None,
) -> None:
    """Draws what each piece of a translation read, means over the heads; pieces downwards, time to the right.

    All panels have one scale, which ends where a hundredth of the weights is beyond it.

    Args:
        alignment: as :func:`leap_fairseq.streaming.alignment.collect_alignment` collects it.
        path: PDF, SVG or PNG to write; its folder is made.
        layer: of the decoder, 0 = the bottommost, as fairseq counts; default: a panel each.
        title: above the picture; default: none.
        width: of the printed picture, cm; default: for a screen.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: the decoder has no such layer; another ending than those of pictures, or a width without room.
    """
    check_form(path)
    layers = layers_to_draw(len(alignment.weights), layer)
    pyplot = import_pyplot()
    style = style_for(width, SCREEN)
    with pyplot.rc_context(style):
        inches, rows = style["figure.figsize"][0], len(layers) * len(alignment.pieces)
        row = min(ROW if width is None else 0.8 * ROW, HIGHEST / rows)
        size = (inches, max(1.0 * len(layers), row * rows) + 1.5)
        figure, axes = pyplot.subplots(len(layers), 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
        means = [alignment.mean(number) for number in layers]
        scale = Scale.of(means)
        for panel, number, mean in zip(axes[:, 0], layers, means):
            image = _draw(panel, alignment, mean, scale.end)
            _write_pieces(panel, alignment.pieces, 0.75 * 72 * row)
            panel.set_ylabel(f"decoder layer {number}", fontsize="medium")
        axes[-1, 0].set_xlabel("speech (s)")
        _legend(figure, list(axes[:, 0]), image, scale)
        if title:
            figure.suptitle(title, fontsize=10)
        save_figure(figure, path)
        pyplot.close(figure)


class Scale(NamedTuple):
    """Of the colours.

    Attributes:
        end: the weight, either way, behind which the colour stays.
        least, largest: of all weights.
    """

    end: float
    least: float
    largest: float

    @classmethod
    def of(cls, means: Sequence[np.ndarray]) -> "Scale":
        """The scale of several layers, [T, S] each, NaN where nothing was read."""
        weights = np.concatenate([mean[~np.isnan(mean)] for mean in means])
        sizes = np.abs(weights)
        end = np.quantile(sizes, 1 - CAPPED) or sizes.max() or 1.0
        return cls(float(end), float(weights.min()), float(weights.max()))


def _draw(axes: Any, alignment: SentenceAlignment, mean: np.ndarray, end: float) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("weights", list(zip(WHITE_AT, COLOURS)))
    seconds, (tokens, frames) = alignment.frame_ms / 1000, mean.shape
    extent = (0, frames * seconds, tokens, 0)
    look = {"cmap": colours, "vmin": -end, "vmax": end, "interpolation": "none", "aspect": "auto"}
    image = axes.imshow(np.ma.masked_invalid(mean), extent=extent, zorder=1, **look)
    edge = np.repeat(alignment.read, 2) * seconds
    axes.plot(edge, np.repeat(np.arange(tokens + 1), 2)[1:-1], color="black", linewidth=1.0, zorder=2)
    axes.patch.set(facecolor="#F2F2F2", edgecolor="#C8C8C8", hatch="////")
    axes.grid(False)
    axes.set_xlim(0, max(frames * seconds, alignment.source_length / 1000))
    return image


def _write_pieces(axes: Any, pieces: Sequence[str], points: float) -> None:
    labels = [piece_label(piece) for piece in pieces] if points >= LEAST_TYPE else []
    axes.set_yticks(np.arange(len(labels)) + 0.5, labels, fontsize=min(9.0, points))
    axes.tick_params(axis="y", length=0, pad=2)


def _legend(figure: Any, panels: List[Any], image: Any, scale: Scale) -> None:
    """The scale of the colours, below."""
    beyond = (scale.least < -scale.end, scale.largest > scale.end)
    extend = {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}[beyond]
    bar = figure.colorbar(image, ax=panels, location="bottom", aspect=45, pad=0.02, extend=extend)
    if scale.least >= 0:
        bar.ax.set_xlim(0, scale.end)
    bar.set_label(f"weight, the mean of the heads{NARROW[figure.get_figwidth() < 4.5]}hatched: not heard yet")
