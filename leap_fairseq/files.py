"""Files and folders that are whole or absent, and stages of work that are done once.

Everything is written under a hidden temporary name beside its place and renamed when it is complete: a process that is
killed leaves no half file, and the next run writes over what was left.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, Sequence, Union

logger = logging.getLogger(__name__)

HASHED_BYTES = 64 * 2**20
"""Larger outputs of a stage are recognised by their size alone: hashing a corpus takes longer than using it."""


class DataError(ValueError):
    """Data or options that cannot be used; the message names what was given, the rule and the remedy."""


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


@contextlib.contextmanager
def whole_file(path: Union[str, Path], text: bool = False) -> Iterator[IO]:
    """Opens a file for writing that appears only when the block ends without an exception.

    Args:
        path: Where the file will be; an older one is replaced.
        text: UTF-8 with plain line feeds instead of bytes.

    Yields:
        The open file.
    """
    path = Path(path)
    partial = _partial(path)
    form = {"mode": "w", "encoding": "utf-8", "newline": "\n"} if text else {"mode": "wb"}
    try:
        with open(partial, **form) as file:
            yield file
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_folder(path: Union[str, Path]) -> Iterator[Path]:
    """Gives an empty folder that takes its place only when the block ends without an exception.

    Args:
        path: Where the folder will be; an older one is replaced.

    Yields:
        The temporary folder to write into.
    """
    path = Path(path)
    partial = _partial(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def digest(value: Any) -> str:
    """A fingerprint of plain data (anything json can write)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8")).hexdigest()


def file_digest(path: Union[str, Path]) -> str:
    """The sha256 of a file's bytes."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            sha.update(block)
    return sha.hexdigest()


def _describe(path: Path) -> Dict[str, Any]:
    size = path.stat().st_size
    return {"size": size} if size > HASHED_BYTES else {"size": size, "sha256": file_digest(path)}


class Stages:
    """Work in one folder, each stage of which is redone only when its options or its outputs have changed.

    Args:
        folder: Where the outputs go; the stamps go to a hidden folder inside.
        name: Of the hidden folder.
    """

    def __init__(self, folder: Union[str, Path], name: str):
        self.folder = Path(folder)
        self.stamps = self.folder / f".{name}"
        self.stamps.mkdir(parents=True, exist_ok=True)

    def run(self, stage: str, options: Dict[str, Any], outputs: List[str], make: Callable[[], None]) -> bool:
        """Calls `make` unless the outputs are there, whole, from the same options.

        Args:
            stage: A name, used for the stamp and the log.
            options: Everything the outputs depend on, as plain data.
            outputs: Files relative to the folder.
            make: Writes all of them.

        Returns:
            True if `make` was called.
        """
        stamp = self.stamps / f"{stage}.json"
        if self._is_current(stamp, options):
            logger.info("%s: reusing what is in %s", stage, self.folder)
            return False
        stamp.unlink(missing_ok=True)
        make()
        made = {name: _describe(self.folder / name) for name in outputs}
        with whole_file(stamp, text=True) as file:
            json.dump({"options": options, "outputs": made}, file, indent=1, sort_keys=True)
        return True

    def publish(self, key: str, names: Sequence[str], make: Callable[[Path], None], old: Iterable[str] = ()) -> None:
        """Has files made in a hidden folder, and moves them to that of the stages when all are whole.

        Args:
            key: The file without which no reader takes the folder for data: it goes first and comes last.
            names: The other files.
            make: Writes all of them into the folder it is given.
            old: Files of an earlier data set, which go too.
        """
        # A killed run's workers may still be writing there: what cannot be removed now is the next run's.
        for left in self.stamps.glob("build-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=self.stamps) as build:
            make(Path(build))
            for name in [key, *names, *old]:
                (self.folder / name).unlink(missing_ok=True)
            for name in [*names, key]:
                os.replace(Path(build) / name, self.folder / name)

    def _is_current(self, stamp: Path, options: Dict[str, Any]) -> bool:
        try:
            known = json.loads(stamp.read_text(encoding="utf-8"))
            found = {name: _describe(self.folder / name) for name in known["outputs"]}
        except (OSError, ValueError, KeyError):
            return False
        return known["options"] == options and known["outputs"] == found
