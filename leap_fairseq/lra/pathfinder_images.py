"""The pictures of Pathfinder: dashes and dots as grey values, and a sheet of pictures to look at.

Edges are smoothed over a pixel. Legend: SIZE x SIZE pixels, row by row, 0 black to 255 white.
"""

import functools
from pathlib import Path
from typing import Sequence, Tuple, Union

import numpy as np

from leap_fairseq.files import DataError, whole_file
from leap_fairseq.lra.pathfinder_lattice import CELLS, COS, DASH, DOT_RADIUS, SIN, SIZE, THICKNESS, Dash, Point
from leap_fairseq.lra.pathfinder_paths import Paths

WHITE = 255
_PATCH = 8
"""Pixels, each way: the patch of a dash reaches from 3 left of the pixel of its start to 4 right of it."""

_BEFORE = 3
SHEET_SCALE = 4
FRAME = 2
"""Pixels around each picture on a sheet: white where a path joins the dots, else black; then grey between them."""


def draw_picture(paths: Paths, dots: Sequence[Point]) -> np.ndarray:
    """Draws all paths, and dots around their middles: uint8 [SIZE, SIZE]."""
    canvas = np.zeros((SIZE + 2 * _PATCH, SIZE + 2 * _PATCH), np.uint8)
    for dash in (dash for path in (*paths.long, *paths.short) for dash in path):
        row, column = dash.row // CELLS + _PATCH - _BEFORE, dash.column // CELLS + _PATCH - _BEFORE
        part = canvas[row : row + _PATCH, column : column + _PATCH]
        np.maximum(part, _patch(dash.degree, dash.row % CELLS, dash.column % CELLS), out=part)
    picture = canvas[_PATCH:-_PATCH, _PATCH:-_PATCH]
    for dot in dots:
        x, y = _pixels(0, 0, SIZE)
        picture = np.maximum(picture, _grey(np.sqrt(np.square(x - dot[0]) + np.square(y - dot[1])), DOT_RADIUS))
    return picture


@functools.cache
def _patch(degree: int, row: int, column: int) -> np.ndarray:
    """A dash that starts so many steps of the lattice from the corner of a pixel, uint8 [_PATCH, _PATCH]."""
    start = Dash(column, row, degree).along(0.0)
    x, y = _pixels(-_BEFORE, -_BEFORE, _PATCH)
    x, y = x - start[0], y - start[1]
    foot = np.clip(x * COS[degree] + y * SIN[degree], 0.0, DASH)
    distance = np.sqrt(np.square(x - foot * COS[degree]) + np.square(y - foot * SIN[degree]))
    return _grey(distance, THICKNESS / 2)


def _pixels(left: int, top: int, size: int) -> Tuple[np.ndarray, np.ndarray]:
    """The middles of the pixels of a square, x [1, size] and y [size, 1]."""
    steps = np.arange(size) + 0.5
    return (left + steps)[None, :], (top + steps)[:, None]


def _grey(distance: np.ndarray, radius: float) -> np.ndarray:
    """Grey values at these distances from the middle of something of this radius."""
    return (WHITE * np.clip(radius + 0.5 - distance, 0.0, 1.0)).round().astype(np.uint8)


def write_sheet(path: Union[str, Path], pictures: np.ndarray, labels: np.ndarray, columns: int = 8) -> None:
    """Writes a PNG of several pictures, enlarged; those whose dots a path joins have a white frame.

    Args:
        path: The PNG.
        pictures: uint8 [N, SIZE, SIZE].
        labels: 0 or 1 [N].
        columns: Pictures side by side.

    Raises:
        DataError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("a picture sheet needs Pillow: pip install pillow, or leave out --sheet") from error
    side = SIZE * SHEET_SCALE + 4 * FRAME
    sheet = np.full((-(-len(pictures) // columns) * side, columns * side), WHITE // 3, np.uint8)
    for number, (picture, label) in enumerate(zip(pictures, labels)):
        top, left = number // columns * side + FRAME, number % columns * side + FRAME
        enlarged = np.kron(picture, np.ones((SHEET_SCALE, SHEET_SCALE), np.uint8))
        framed = np.pad(enlarged, FRAME, constant_values=WHITE * int(label))
        sheet[top : top + len(framed), left : left + len(framed)] = framed
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        Image.fromarray(sheet).save(file, format="PNG")
