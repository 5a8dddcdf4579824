"""Where readers find their files: in a folder, a zip or a tar, by a pattern of their names."""

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union

from leap_fairseq.files import DataError
from leap_fairseq.prepare.archives import check_inside, errors_named, members


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
        DataError: The source is missing or damaged, or a file is there twice, or is refused (see `archives`).
    """
    source = Path(source)
    # As little as possible before the pattern, which may begin with an optional folder.
    fits = re.compile(f"(?:.*?/)??{pattern}")
    if not source.exists():
        raise DataError(f"{source} does not exist: give a folder, a zip or a tar")
    with errors_named(source, "which must be a folder, a zip or a tar"):
        entries = list(_entries(source, fits))
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
        names = {path.relative_to(source).as_posix(): path for path in source.rglob("*") if not path.is_dir()}
        for name in filter(fits.fullmatch, names):
            check_inside(source, names[name])
            yield name, names[name].read_bytes()
        return
    for name, open_member in members(source, fits.fullmatch):
        with open_member() as file:
            yield name, file.read()


def digest_of(files: Sequence[SourceFile]) -> str:
    """The sha256 of files' names and bytes, whatever they lie in."""
    sha = hashlib.sha256()
    for file in files:
        sha.update(f"{_key(file)} {len(file.content)}\n".encode())
        sha.update(file.content)
    return sha.hexdigest()
