"""Pathfinder as a data set: does a dashed path join the two dots?

Every picture has two long paths. Label 1: the dots are at both ends of one of them; label 0: at an end of each. Which
it is, is drawn apart from the paths, and each split has both labels equally often.
"""

from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple, Union

import numpy as np

from leap_fairseq.files import DataError
from leap_fairseq.lra import LraFacts, LraSplit
from leap_fairseq.lra.data_set import Writer, write_data_set
from leap_fairseq.lra.division import check_sizes, shuffled
from leap_fairseq.lra.pathfinder_images import WHITE, draw_picture, write_sheet
from leap_fairseq.lra.pathfinder_lattice import SIZE, Point
from leap_fairseq.lra.pathfinder_paths import CONTOUR_LENGTHS, Paths, draw_paths
from leap_fairseq.prepare.choices import Choices
from leap_fairseq.prepare.processes import in_order

PUBLISHED_SIZES = {"train": 160_000, "valid": 20_000, "test": 20_000}
SMALL_SIZES = {"train": 3_000, "valid": 300, "test": 300}
PICTURES_PER_BLOCK = 100
"""Drawn from one seed by one process."""

SEEDS_PER_SPLIT = 1_000_000
"""Also the largest size of a split: a larger one would have pictures of the next."""

ON_A_SHEET = 40


class Block(NamedTuple):
    """What one process draws: a picture for each label."""

    split: str
    seed: int
    labels: List[int]
    contour_length: int


def prep_pathfinder(
    out: Union[str, Path], sizes: Dict[str, int], difficulty: str = "hard", seed: int = 1, processes: int = 1
) -> LraFacts:
    """Makes the data set, or finds it done; the arguments are the command's.

    Args:
        sizes: Number of pictures of train, valid and test.

    Raises:
        DataError: Impossible options.
    """
    check_sizes(sizes)
    if max(sizes.values()) > SEEDS_PER_SPLIT:
        raise DataError(f"--sizes gives {max(sizes.values())} examples, but a split has at most {SEEDS_PER_SPLIT:,}")
    if difficulty not in CONTOUR_LENGTHS:
        raise DataError(f"--difficulty is {difficulty!r}, but must be one of {', '.join(CONTOUR_LENGTHS)}")
    options = {"sizes": sizes, "difficulty": difficulty, "seed": seed}

    def make(writer: Writer) -> None:
        blocks = list(_blocks(sizes, CONTOUR_LENGTHS[difficulty], seed))
        for block, pictures in zip(blocks, in_order(draw_block, blocks, processes)):
            for label, picture in zip(block.labels, pictures):
                writer.add(block.split, label, picture.ravel().astype(np.uint16) + 1)

    # A token is a grey value plus 1.
    return write_data_set(out, LraFacts("pathfinder", WHITE + 2, 2, SIZE * SIZE), options, make)


def _blocks(sizes: Dict[str, int], contour_length: int, seed: int) -> Iterator[Block]:
    for number, (split, size) in enumerate(sizes.items()):
        first = (seed * 10 + number) * SEEDS_PER_SPLIT
        labels = shuffled([position % 2 for position in range(size)], Choices(first))
        for start in range(0, size, PICTURES_PER_BLOCK):
            part = labels[start : start + PICTURES_PER_BLOCK]
            yield Block(split, first + 1 + start, part, contour_length)


def draw_block(block: Block) -> np.ndarray:
    """Draws the pictures of a block, uint8 [N, SIZE, SIZE]."""
    choices = Choices(block.seed)
    pictures = []
    for label in block.labels:
        paths = draw_paths(choices, block.contour_length)
        pictures.append(draw_picture(paths, choose_dots(choices, paths, label)))
    return np.stack(pictures)


def choose_dots(choices: Choices, paths: Paths, label: int) -> Tuple[Point, Point]:
    """Where the dots are: at the beginning of one long path, and at the end of it (1) or of the other one (0)."""
    first = choices.pick((0, 1))
    return paths.tips[first][0], paths.tips[first if label else 1 - first][1]


def sheet_of(folder: Union[str, Path], path: Union[str, Path]) -> None:
    """Writes a PNG of a data set's first training pictures; a white frame means that a path joins the dots.

    Raises:
        DataError: There is no such data set, or Pillow is not installed.
    """
    split = LraSplit(folder, "train")
    count = min(ON_A_SHEET, len(split))
    pictures = np.stack([split[i][0].reshape(SIZE, SIZE) - 1 for i in range(count)]).astype(np.uint8)
    write_sheet(path, pictures, split.labels[:count])
