"""The geometry of Pathfinder: two long dashed paths that begin near each other, and short dashed distractors.

A path grows dash by dash from its first tip: the next dash lies a gap further on, turned by an angle whose density is
cos^2, where that keeps its distance from everything else. Where nothing does, the last dashes are taken back. A flood
that crosses the gaps of a path reaches no other one: the distances make sure.

As published, the two paths begin near each other and near the middle, whatever the label. That leaves a trace: the
distance of the dots alone tells the label of 62 % of the easy pictures, and of 52 and 54 % of the others.
Source: Linsley et al. 2018; Kim et al. 2020; drewlinsley/pathfinder, snakes2.py; the parameters at 32 x 32 in
google-research/long-range-arena, lra_benchmarks/data/pathfinder.py, but for MARGIN and the widths.
"""

import bisect
import itertools
import math
from typing import Iterator, List, NamedTuple, Optional, Tuple

from leap_fairseq.lra.pathfinder_lattice import (
    BORDER,
    CELLS,
    COS,
    DASH,
    DOT_TO_AXIS,
    DOT_TO_DOT,
    SIN,
    SIZE,
    Dash,
    Point,
    around_dash,
    around_dot,
    axis,
    on_lattice,
)
from leap_fairseq.prepare.choices import Choices

CONTOUR_LENGTHS = {"easy": 6, "intermediate": 9, "hard": 14}
"""Dashes of each of the two long paths."""

DISTRACTOR_DASHES = 20
"""Of all distractors together; each is a third as long as the long paths."""

MARGIN = 0.75
"""Free before and after a dash, so that a gap is at most twice as long, and less in a turn. Published: 1; then, with
gaps that are narrower than all other distances, half of the distractors of a hard picture find no room."""

SEED_DISTANCE = 7.0
"""Between the first tips of the two long paths, of which one lies near the middle."""

CANDIDATES = 24
"""Angles tried for one dash, or places for the first of a distractor."""

TAKEN_BACK = 4
"""Most dashes of each long path that are taken back where there is no way on."""

PATIENCE = 12
"""Dead ends, after which both long paths begin anew."""

RETRIALS = 4
"""Further attempts at a distractor, after which the picture goes without."""

_TURNS = range(-89, 90)
_TURN_CHANCES = list(itertools.accumulate(COS[turn % 360] ** 2 for turn in _TURNS))


class Paths(NamedTuple):
    """The geometry of a picture.

    Attributes:
        long: The dashes of the two long paths.
        short: Those of the distractors that found room.
        tips: Of each long path where it begins and where it ends.
    """

    long: Tuple[List[Dash], List[Dash]]
    short: List[List[Dash]]
    tips: Tuple[Tuple[Point, Point], Tuple[Point, Point]]


class _Path:
    """A path that grows and can be taken back."""

    def __init__(self, tip: Optional[Point] = None):
        self.dashes: List[Dash] = []
        self.tips: List[Point] = [] if tip is None else [tip]
        self._occupied, self._tips_occupied = [0], [0] if tip is None else [0, around_dot(tip)]

    def add(self, dash: Dash, is_last: bool) -> None:
        """Adds a dash; the last one has a tip."""
        self.dashes.append(dash)
        self._occupied.append(self._occupied[-1] | around_dash(dash))
        if is_last:
            self.tips.append(dash.along(DASH))
            self._tips_occupied.append(self._tips_occupied[-1] | around_dot(self.tips[-1]))

    def take_back(self) -> None:
        """Removes the last dash, and the tip that only a whole path has."""
        self.dashes.pop()
        self._occupied.pop()
        del self.tips[1:], self._tips_occupied[2:]

    def occupied(self) -> int:
        """Where no dash of another path may be."""
        return self._occupied[-1] | self._tips_occupied[-1]

    def behind(self) -> int:
        """Where no further dash of this path may be: near all but the last, and near its tip but for the second."""
        near_tip = self._tips_occupied[-1] if len(self.dashes) > 1 else 0
        return self._occupied[max(len(self._occupied) - 2, 0)] | near_tip


def draw_paths(choices: Choices, contour_length: int) -> Paths:
    """Draws the geometry of a picture whose long paths have so many dashes."""
    long = None
    while long is None:
        long = _long_paths(choices, contour_length)
    occupied, short = long[0].occupied() | long[1].occupied(), []
    length = contour_length // 3
    for _ in range(DISTRACTOR_DASHES // length):
        attempts = (_distractor(choices, occupied, length) for _ in range(1 + RETRIALS))
        path = next(filter(None, attempts), None)
        if path is not None:
            short.append(path.dashes)
            occupied |= path.occupied()
    first, second = long
    return Paths((first.dashes, second.dashes), short, (tuple(first.tips), tuple(second.tips)))


def _long_paths(choices: Choices, length: int) -> Optional[Tuple[_Path, _Path]]:
    """Both long paths, which grow in turn; None after too many dead ends."""
    x, y = (on_lattice(choices.between(2 * SEED_DISTANCE, SIZE - 2 * SEED_DISTANCE)) for _ in range(2))
    degree = choices.pick(range(360))
    other = on_lattice(x + SEED_DISTANCE * COS[degree]), on_lattice(y + SEED_DISTANCE * SIN[degree])
    paths = _Path((x, y)), _Path(other)
    step = dead_ends = 0
    while step < 2 * length:
        path, other = paths[step % 2], paths[1 - step % 2]
        is_last = step >= 2 * length - 2
        dash = _next_dash(choices, path, other.occupied() | path.behind(), other if is_last else None)
        if dash is not None:
            path.add(dash, is_last)
            step += 1
            continue
        dead_ends += 1
        if dead_ends > PATIENCE:
            return None
        for _ in range(min(step, 2 * choices.pick(range(1, TAKEN_BACK + 1)))):
            step -= 1
            paths[step % 2].take_back()
    return paths


def _distractor(choices: Choices, occupied: int, length: int) -> Optional[_Path]:
    path = _Path()
    for _ in range(length):
        dash = _next_dash(choices, path, occupied | path.behind())
        if dash is None:
            return None
        path.add(dash, is_last=False)
    return path


def _next_dash(choices: Choices, path: _Path, occupied: int, other: Optional[_Path] = None) -> Optional[Dash]:
    """The first of some candidates for which there is room; as the last of its path also for a dot beside `other`."""
    for dash in _following(choices, path.dashes[-1]) if path.dashes else _beginning(choices, path.tips):
        if dash.is_inside() and not occupied & axis(dash) and (other is None or _has_room_for_dot(dash, path, other)):
            return dash
    return None


def _following(choices: Choices, last: Dash) -> Iterator[Dash]:
    """Candidates for the dash after this one."""
    x, y = last.along(DASH + MARGIN)
    for _ in range(CANDIDATES):
        turn = _TURNS[bisect.bisect(_TURN_CHANCES, choices.between(0.0, _TURN_CHANCES[-1]))]
        degree = (last.degree + turn) % 360
        column, row = (x + MARGIN * COS[degree]) * CELLS, (y + MARGIN * SIN[degree]) * CELLS
        yield Dash(round(column), round(row), degree)


def _beginning(choices: Choices, tips: List[Point]) -> Iterator[Dash]:
    """Candidates for the first dash of a path: at its tip, or anywhere."""
    for _ in range(CANDIDATES):
        degree = choices.pick(range(360))
        x, y = tips[0] if tips else (choices.between(BORDER, SIZE - BORDER) for _ in range(2))
        yield Dash(round(x * CELLS), round(y * CELLS), degree)


def _has_room_for_dot(dash: Dash, path: _Path, other: _Path) -> bool:
    # The own path counts like the other one: dots side by side would else tell that one path joins them.
    tip = dash.along(DASH)
    if any(math.dist(tip, another) < DOT_TO_DOT for another in (*path.tips, *other.tips)):
        return False
    return all(neighbour.distance(tip) >= DOT_TO_AXIS for neighbour in (*path.dashes[:-1], *other.dashes))
