"""Pathfinder: labels found again by a flood over an independent drawing, distances, pixels, always the same bytes."""

import math

import numpy as np
import pytest

from leap_fairseq.lra import SPLITS, DataError, LraSplit, pathfinder_paths
from leap_fairseq.lra.pathfinder import choose_dots, draw_block, prep_pathfinder, sheet_of
from leap_fairseq.lra.pathfinder_images import draw_picture
from leap_fairseq.lra.pathfinder_lattice import BORDER, CLEARANCE, DASH, DOT_RADIUS, DOT_TO_DOT, SIZE, THICKNESS
from leap_fairseq.lra.pathfinder_paths import CONTOUR_LENGTHS, MARGIN, draw_paths
from leap_fairseq.prepare.choices import Choices

SIZES = {"train": 130, "valid": 21, "test": 6}
DIFFICULTIES = pytest.mark.parametrize("length", CONTOUR_LENGTHS.values(), ids=CONTOUR_LENGTHS)

FINE = 8
"""Cells of the flood's own drawing in a pixel."""

REACH = (2 * MARGIN + 0.2 + CLEARANCE) / 4
"""Pixels: paths are drawn so wide that a path closes its gaps, and stays apart from the others."""


def geometry(length, count, seed=1):
    choices = Choices(seed)
    return [draw_paths(choices, length) for _ in range(count)]


def axis_points(paths, step=0.05):
    """Points [P, 2] of the axes of all dashes, from start and direction alone; and the path of each, [P]."""
    points, owners = [], []
    for owner, path in enumerate((*paths.long, *paths.short)):
        for dash in path:
            angle = math.radians(dash.degree)
            for distance in np.arange(0, DASH + step / 2, step):
                points.append((dash.column / 4 + distance * math.cos(angle), dash.row / 4 + distance * math.sin(angle)))
                owners.append(owner)
    return np.array(points), np.array(owners)


def flood_joins(paths, dots):
    """Whether the dots are in one piece of the widely drawn paths: cells are painted, then flooded from one dot."""
    points, _ = axis_points(paths, step=1 / FINE)
    side = SIZE * FINE
    painted = np.zeros((side, side), bool)
    offsets = np.mgrid[-FINE : FINE + 1, -FINE : FINE + 1].reshape(2, -1).T
    cells = (points[:, ::-1] * FINE).astype(int)[:, None] + offsets
    centres = (cells + 0.5) / FINE
    near = np.hypot(*(centres - points[:, None, ::-1]).transpose(2, 0, 1)) <= REACH
    painted[tuple(cells[near].T.clip(0, side - 1))] = True
    first, second = ((int(y * FINE), int(x * FINE)) for x, y in dots)
    assert painted[first] and painted[second]
    seen, waiting = {first}, [first]
    while waiting:
        y, x = waiting.pop()
        for cell in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if painted[cell] and cell not in seen:
                seen.add(cell)
                waiting.append(cell)
    return second in seen


@DIFFICULTIES
def test_flood_finds_the_label(length):
    for number, paths in enumerate(geometry(length, 12)):
        for label in (0, 1):
            assert flood_joins(paths, choose_dots(Choices(number), paths, label)) == bool(label)


def test_flood_can_fail(monkeypatch):
    """The control: with gaps wider than all other distances, no flood crosses them."""
    monkeypatch.setattr(pathfinder_paths, "MARGIN", 1.3)
    found = [flood_joins(paths, choose_dots(Choices(1), paths, 1)) for paths in geometry(6, 5)]
    assert not any(found)


@DIFFICULTIES
def test_paths_have_their_form(length):
    for paths in geometry(length, 20):
        assert [len(path) for path in paths.long] == [length, length]
        assert all(len(path) == length // 3 for path in paths.short)
        assert len(paths.short) <= 20 // (length // 3)
        for path, tips in zip(paths.long, paths.tips):
            assert tips == (path[0].along(0), path[-1].along(DASH))
        assert abs(math.dist(paths.tips[0][0], paths.tips[1][0]) - 7) < 0.3
        assert all(14 <= value <= 18 for value in paths.tips[0][0])
        for path in (*paths.long, *paths.short):
            for dash, after in zip(path, path[1:]):
                turn = (after.degree - dash.degree + 180) % 360 - 180
                assert abs(turn) < 90
                assert math.dist(dash.along(DASH), after.along(0)) <= 2 * MARGIN + 0.2


@DIFFICULTIES
def test_distances_hold(length):
    for paths in geometry(length, 6):
        points, owners = axis_points(paths)
        assert points.min() >= BORDER - 1e-6 and points.max() <= SIZE - BORDER + 1e-6
        for owner in range(owners.max() + 1):
            mine, others = points[owners == owner], points[owners != owner]
            assert np.hypot(*(mine[:, None] - others).transpose(2, 0, 1)).min() >= CLEARANCE
        for path in paths.long:
            for number, dash in enumerate(path):
                away = [other for index, other in enumerate(path) if abs(index - number) > 1]
                assert all(other.distance(dash.along(t)) >= CLEARANCE for other in away for t in (0, 1, 2))
        tips = [tip for of_path in paths.tips for tip in of_path]
        for number, tip in enumerate(tips):
            assert all(math.dist(tip, other) >= DOT_TO_DOT - 1e-9 for other in tips[:number])
            others = points[owners != number // 2]
            assert np.hypot(*(others - tip).T).min() >= DOT_RADIUS + CLEARANCE - THICKNESS / 2


@DIFFICULTIES
def test_pixels_are_those_of_the_geometry(length):
    """Every pixel's grey value from its distance to the nearest axis and dot, written straight from the definition."""
    centres = np.arange(SIZE) + 0.5
    for paths in geometry(length, 2):
        dots = choose_dots(Choices(1), paths, 1)
        points, _ = axis_points(paths, step=0.01)
        x, y = np.meshgrid(centres, centres)
        distance = np.min([np.hypot(x - px, y - py) for px, py in points], axis=0)
        grey = np.clip(THICKNESS / 2 + 0.5 - distance, 0, 1)
        for px, py in dots:
            grey = np.maximum(grey, np.clip(DOT_RADIUS + 0.5 - np.hypot(x - px, y - py), 0, 1))
        picture = draw_picture(paths, dots)
        assert picture.dtype == np.uint8 and np.abs(picture - 255 * grey).max() < 2
        assert 0.1 < (picture > 0).mean() < 0.4 and all(picture[int(py), int(px)] == 255 for px, py in dots)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("pathfinder") / "made"
    prep_pathfinder(out, SIZES, "easy")
    return out


def test_data_set(made):
    pictures = set()
    for split in SPLITS:
        data = LraSplit(made, split)
        assert data.facts.vocab_size == 257 and data.facts.max_length == 1024 and not data.facts.pairs
        assert len(data) == SIZES[split] and (data.lengths == 1024).all()
        assert data.labels.sum() == SIZES[split] // 2
        for tokens, _ in data:
            assert tokens.min() == 1 and tokens.max() == 256
            pictures.add(bytes(tokens))
    assert len(pictures) == sum(SIZES.values())


def test_four_processes_make_the_same_bytes(made, tmp_path, hashes):
    prep_pathfinder(tmp_path / "made", SIZES, "easy", processes=4)
    assert hashes(tmp_path / "made") == hashes(made)


def test_pictures_are_those_of_the_blocks(made):
    """The data set's own pictures have their labels: blocks are drawn again, with the geometry at hand."""
    from leap_fairseq.lra.pathfinder import _blocks

    block = next(iter(_blocks(SIZES, 6, 1)))
    data, choices = LraSplit(made, "train"), Choices(block.seed)
    for number, picture in enumerate(draw_block(block)[:10]):
        tokens, label = data[number]
        assert (tokens.reshape(SIZE, SIZE) - 1 == picture).all()
        paths = draw_paths(choices, 6)
        assert flood_joins(paths, choose_dots(choices, paths, block.labels[number])) == bool(label)


def test_sheet(made, tmp_path):
    image = pytest.importorskip("PIL.Image")
    sheet_of(made, tmp_path / "new" / "sheet.png")
    with image.open(tmp_path / "new" / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    side = 4 * SIZE + 8
    assert pixels.shape == (5 * side, 8 * side)
    data = LraSplit(made, "train")
    for number in (0, 1, 9, 39):
        top, left = number // 8 * side + 4, number % 8 * side + 4
        tokens, label = data[number]
        assert (pixels[top : top + 128 : 4, left : left + 128 : 4] == tokens.reshape(SIZE, SIZE) - 1).all()
        assert pixels[top - 1, left] == 255 * label


def test_impossible_options_are_refused(tmp_path):
    with pytest.raises(DataError, match="--difficulty is 'harder'.*easy, intermediate, hard"):
        prep_pathfinder(tmp_path / "made", SIZES, "harder")
    with pytest.raises(DataError, match="--sizes gives test 0"):
        prep_pathfinder(tmp_path / "made", {**SIZES, "test": 0})
    with pytest.raises(DataError, match="--sizes gives 1000001 examples, but a split has at most 1,000,000"):
        prep_pathfinder(tmp_path / "made", {**SIZES, "train": 1_000_001})
