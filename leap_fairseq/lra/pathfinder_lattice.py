"""Dashes and dots on the plane, and what they occupy of it, for the pictures of Pathfinder.

Dashes begin on a lattice, so that what is occupied is one long integer, a bit for each point of the lattice, and one
AND tells whether there is room for a dash. Points beside the lattice get as much more room as they can be away from it,
so that the distances hold exactly.
Unit: pixels where nothing else is said, x to the right and y down; the picture is SIZE x SIZE.
"""

import functools
import math
from typing import NamedTuple, Tuple

import numpy as np

SIZE = 32
DASH = 2.0
"""Length of a dash's axis."""

CLEARANCE = 2.0
"""Least distance between the axes of two dashes of which neither follows the other: more than any gap."""

THICKNESS, DOT_RADIUS = 0.75, 1.5
DOT_TO_AXIS = DOT_RADIUS + CLEARANCE - THICKNESS / 2
"""Between their edges, dots are as far from dashes and from each other as dashes are."""

DOT_TO_DOT = 2 * DOT_RADIUS + CLEARANCE - THICKNESS
BORDER = 1.5
"""No axis of a dash and no middle of a dot is closer to the edge, so that nothing is cut off."""

CELLS = 4
"""Points of the lattice in a pixel, in each direction."""

# Around the picture there is room for what a dash at its edge occupies.
_PAD = CELLS * 6
_WIDTH = CELLS * SIZE + 2 * _PAD
# A point that is not on the lattice is at most half a diagonal away from it.
_OFF_LATTICE = math.sqrt(0.5) / CELLS

# Whole degrees, rounded, so that no machine's cosine differs.
COS = [round(math.cos(math.radians(degree)), 9) for degree in range(360)]
SIN = [round(math.sin(math.radians(degree)), 9) for degree in range(360)]

Point = Tuple[float, float]


class Dash(NamedTuple):
    """A dash.

    Attributes:
        column: Where it starts, in steps of the lattice.
        row: Likewise.
        degree: Its direction, 0 to the right, 90 down.
    """

    column: int
    row: int
    degree: int

    def along(self, distance: float) -> Point:
        """The point of its axis that is so far from its start."""
        return self.column / CELLS + distance * COS[self.degree], self.row / CELLS + distance * SIN[self.degree]

    def distance(self, point: Point) -> float:
        """Of the point from its axis."""
        x, y = point[0] - self.column / CELLS, point[1] - self.row / CELLS
        foot = min(max(x * COS[self.degree] + y * SIN[self.degree], 0.0), DASH)
        return math.hypot(x - foot * COS[self.degree], y - foot * SIN[self.degree])

    def is_inside(self) -> bool:
        """Whether no part of it is too close to the edge of the picture."""
        ends = (*self.along(0.0), *self.along(DASH))
        return min(ends) >= BORDER and max(ends) <= SIZE - BORDER


def on_lattice(coordinate: float) -> float:
    """The nearest coordinate of the lattice."""
    return round(coordinate * CELLS) / CELLS


def axis(dash: Dash) -> int:
    """The bits of the lattice points beside a dash's axis: any point of it has one that is not too far."""
    return _shifted(_dash_bits(dash.degree, _OFF_LATTICE), dash.column, dash.row)


def around_dash(dash: Dash) -> int:
    """The bits where no other axis may be."""
    return _shifted(_dash_bits(dash.degree, CLEARANCE + _OFF_LATTICE), dash.column, dash.row)


def around_dot(middle: Point) -> int:
    """The bits where no other axis may be, around a dot."""
    return _shifted(_dot_bits(), round(middle[0] * CELLS), round(middle[1] * CELLS))


def _shifted(bits: int, column: int, row: int) -> int:
    return bits << (row * _WIDTH + column)


@functools.cache
def _dash_bits(degree: int, radius: float) -> int:
    """What is closer than the radius to the axis of a dash that starts at point 0 of the lattice."""
    x, y = _offsets()
    foot = np.clip(x * COS[degree] + y * SIN[degree], 0.0, DASH)
    return _as_bits(np.square(x - foot * COS[degree]) + np.square(y - foot * SIN[degree]) <= radius**2)


@functools.cache
def _dot_bits() -> int:
    x, y = _offsets()
    return _as_bits(np.square(x) + np.square(y) <= (DOT_TO_AXIS + 2 * _OFF_LATTICE) ** 2)


def _offsets() -> Tuple[np.ndarray, np.ndarray]:
    """Coordinates of the lattice points around point 0, which is _PAD from the upper left corner."""
    steps = (np.arange(2 * _PAD + 1) - _PAD) / CELLS
    return steps[None, :], steps[:, None]


def _as_bits(inside: np.ndarray) -> int:
    rows = np.zeros((len(inside), _WIDTH), bool)
    rows[:, : inside.shape[1]] = inside
    return int.from_bytes(np.packbits(rows, bitorder="little").tobytes(), "little")
