"""Where readers find their files: in a folder, a zip or a tar; and which examples are held out of training.

What is held out is drawn class by class, so that every split has the classes in the same proportions.
"""

import hashlib
import re
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple, TypeVar, Union

from leap_fairseq.prepare.choices import Choices

from leap_fairseq.files import DataError

T = TypeVar("T")


class SourceFile(NamedTuple):
    """A file whose name fits: its content, and what the groups of the pattern found in the name."""

    name: str
    content: bytes
    groups: Dict[str, str]


def files_of(source: Union[str, Path], pattern: str) -> List[SourceFile]:
    """Reads the files whose name fits.

    Args:
        source: A folder, a zip or a tar (of any compression).
        pattern: Regular expression that the end of the name must fit, from a slash on; folders by slashes.

    Returns:
        The files, in the order of what the pattern finds, then of their names; it does not depend on what they lie in.

    Raises:
        DataError: The source is missing or damaged, or a file is there twice.
    """
    source = Path(source)
    # As little as possible before the pattern, which may begin with an optional folder.
    fits = re.compile(f"(?:.*?/)??{pattern}")
    if not source.exists():
        raise DataError(f"{source} does not exist: give a folder, a zip or a tar")
    try:
        entries = list(_entries(source, fits))
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError(f"cannot read {source}, which must be a folder, a zip or a tar: {error}") from error
    found = [SourceFile(name, content, fits.fullmatch(name).groupdict("")) for name, content in entries]
    found.sort(key=_key)
    for file, after in zip(found, found[1:]):
        if _key(file) == _key(after):
            raise DataError(f"{source} has both {file.name} and {after.name}: give the folder of one data set")
    return found


def _key(file: SourceFile) -> Tuple:
    return (*file.groups.values(), PurePosixPath(file.name).name)


def _entries(source: Path, fits: "re.Pattern[str]") -> Iterator[Tuple[str, bytes]]:
    if source.is_dir():
        names = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if path.is_file()}
        for name in filter(fits.fullmatch, names):
            yield name, names[name].read_bytes()
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            for name in filter(fits.fullmatch, archive.namelist()):
                yield name, archive.read(name)
    else:
        with tarfile.open(source) as archive:
            for member in archive:
                if member.isfile() and fits.fullmatch(member.name):
                    yield member.name, archive.extractfile(member).read()


def digest_of(files: Sequence[SourceFile]) -> str:
    """The sha256 of files' names and bytes, whatever they lie in."""
    sha = hashlib.sha256()
    for file in files:
        sha.update(f"{_key(file)} {len(file.content)}\n".encode())
        sha.update(file.content)
    return sha.hexdigest()


def shuffled(items: Sequence[T], choices: Choices) -> List[T]:
    """The items in another order, every order as likely as the others."""
    items = list(items)
    for last in range(len(items) - 1, 0, -1):
        other = choices.pick(range(last + 1))
        items[last], items[other] = items[other], items[last]
    return items


def divide(labels: Sequence[int], fractions: Sequence[float], seed: int) -> List[List[int]]:
    """Divides examples at random, each class alike.

    Args:
        labels: Of all examples.
        fractions: Of what each part but the first gets, of each class, at least one example where it is above 0.
        seed: Another seed divides otherwise.

    Returns:
        Positions of each part, in a random order: first what is left, then one part for each fraction.

    Raises:
        DataError: A fraction below 0, or together they leave nothing of a class.
    """
    if min(fractions) < 0 or sum(fractions) >= 1:
        given = ", ".join(f"{fraction:g}" for fraction in fractions)
        raise DataError(f"the fractions held out are {given}, but must be 0 or more and together below 1")
    choices, parts = Choices(seed), [[] for _ in range(len(fractions) + 1)]
    for label in sorted(set(labels)):
        of_label = shuffled([position for position, other in enumerate(labels) if other == label], choices)
        for part, fraction in zip(parts[1:], fractions):
            count = max(round(fraction * labels.count(label)), int(fraction > 0))
            part += of_label[:count]
            of_label = of_label[count:]
        if not of_label:
            raise DataError(f"class {label} has too few examples to be in every split: give more, or hold out less")
        parts[0] += of_label
    return [shuffled(part, choices) for part in parts]


def check_sizes(sizes: Dict[str, int]) -> None:
    """Refuses a split without examples.

    Raises:
        DataError: A size below 1.
    """
    for split, size in sizes.items():
        if size < 1:
            raise DataError(f"--sizes gives {split} {size} examples, but every split needs 1 or more")
