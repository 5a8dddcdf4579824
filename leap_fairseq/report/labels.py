"""Places labels beside points so that none lies on another, on a marker, on a line or outside of the axes."""

from typing import Any, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

SIDES = ((-1, 1), (1, -1), (1, 1), (-1, -1), (0, 1), (0, -1), (-1, 0), (1, 0))
"""Where a label may stand, from its point, the first choice first."""

DISTANCES = (5.0, 10.0, 15.0)
"""Points between a marker's middle and the label."""

MARKER = 4.0
"""Half the side of the square of a marker, points."""


class Label(NamedTuple):
    """A text for a point of the axes, in data coordinates."""

    text: str
    x: float
    y: float


def place_labels(axes: Any, labels: Sequence[Label], **look: Any) -> List[Any]:
    """Writes labels beside their points; one without a place near its point is left out.

    The layout of the figure must be final: call it when all else has been drawn.

    Args:
        axes: with the lines that are to stay visible.
        labels: in the order of their importance.
        look: of the texts.

    Returns:
        What was written.
    """
    axes.figure.draw_without_rendering()
    renderer, scale = axes.figure.canvas.get_renderer(), axes.figure.dpi / 72
    lines = [axes.transData.transform(np.column_stack(line.get_data())) for line in axes.lines if len(line.get_xdata())]
    half = MARKER * scale
    taken = [(x - half, y - half, x + half, y + half) for line in lines for x, y in line]
    ways = [_samples(line, step=2 * scale) for line in lines]
    inside, written = axes.get_window_extent(renderer), []
    for label in labels:
        text = axes.annotate(label.text, (label.x, label.y), xytext=(0, 0), textcoords="offset points", **look)
        text.set_in_layout(False)
        for box in _places(text, renderer, scale):
            fits = inside.x0 <= box[0] and box[2] <= inside.x1 and inside.y0 <= box[1] and box[3] <= inside.y1
            free = not any(_overlap(box, other) for other in taken)
            if fits and free and not any(_crosses(box, way) for way in ways):
                taken.append(box)
                written.append(text)
                break
        else:
            text.remove()
    return written


def _places(text: Any, renderer: Any, scale: float) -> Iterator[Tuple[float, ...]]:
    """Moves a text from place to place, and yields the box of each, pixels."""
    for distance in DISTANCES:
        for dx, dy in SIDES:
            text.set_position((dx * distance, dy * distance))
            text.set(ha=("center", "left", "right")[dx], va=("center", "bottom", "top")[dy])
            box = text.get_window_extent(renderer)
            yield box.x0 - scale, box.y0 - scale, box.x1 + scale, box.y1 + scale


def _samples(line: np.ndarray, step: float) -> np.ndarray:
    """Points on a line of segments, at most a step apart."""
    pieces = [line[:1]]
    for start, end in zip(line[:-1], line[1:]):
        count = max(1, int(np.ceil(np.hypot(*(end - start)) / step)))
        pieces.append(start + np.linspace(0, 1, count + 1)[1:, None] * (end - start))
    return np.concatenate(pieces)


def _overlap(box: Tuple[float, ...], other: Tuple[float, ...]) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def _crosses(box: Tuple[float, ...], way: np.ndarray) -> bool:
    return bool(((way > box[:2]) & (way < box[2:])).all(1).any())
