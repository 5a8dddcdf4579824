"""Files and folders that are whole or absent, and stages of work that are done once.

Everything is written under a hidden temporary name beside its place and renamed when it is complete: a process that is
killed leaves no half file, and the next run writes over what was left. Two processes never write to one place at once:
the second is refused, by a lock of the kernel's, which ends with the process that holds it.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Set, Union

logger = logging.getLogger(__name__)

HASHED_BYTES = 64 * 2**20
"""Larger outputs of a stage are recognised by their size alone: hashing a corpus takes longer than using it."""


class DataError(ValueError):
    """Data or options that cannot be used; the message names what was given, the rule and the remedy."""


_warn_once = functools.lru_cache(maxsize=None)(logger.warning)

_held: Set[int] = set()
"""Descriptors of the locks of this process."""


def _forget_locks() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


# A worker that outlives its parent must not keep the parent's locks: a fork would share them.
os.register_at_fork(after_in_child=_forget_locks)


@contextlib.contextmanager
def locked(path: Union[str, Path], what: Union[str, Path, None] = None) -> Iterator[int]:
    """Keeps other processes from a file or folder that is there, while they ask for it in the same way.

    Args:
        path: What is locked; nothing is written into it.
        what: For messages: what is being written (default: the path).

    Yields:
        A descriptor, for commands that write there on behalf of this process: if it is killed, they keep others out.

    Raises:
        DataError: Another process has it.
    """
    path = Path(path)
    what = path if what is None else what
    taken = DataError(f"another process is writing {what}: wait for it, or give another place")
    try:
        # Network file systems lock only what is open for writing, and thus no folder.
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except FileNotFoundError as error:  # complete, and renamed, since the caller made it
        raise taken from error
    _held.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been complete, and renamed, between the opening and the lock.
            if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
                raise taken
        except (BlockingIOError, FileNotFoundError) as error:
            raise taken from error
        except OSError as error:
            _warn_once("no locks in %s (%s): start nothing else that writes there", path.parent, error.strerror)
        yield descriptor
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            # Not by closing alone: a command that another thread starts has a copy until its program is loaded.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


@contextlib.contextmanager
def whole_file(path: Union[str, Path], text: bool = False) -> Iterator[IO]:
    """Opens a file for writing that appears only when the block ends without an exception.

    Args:
        path: Where the file will be; its folder is made, and an older file is replaced.
        text: UTF-8 with plain line feeds instead of bytes.

    Yields:
        The open file.

    Raises:
        DataError: Another process is writing it.
    """
    path = Path(path)
    partial = _partial(path)
    form = {"mode": "w", "encoding": "utf-8", "newline": "\n"} if text else {"mode": "wb"}
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.touch()
    with locked(partial, path):
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
        path: Where the folder will be; an older one is replaced, that of a link behind it.

    Yields:
        The temporary folder to write into.

    Raises:
        DataError: Another process is writing it, or a file is there.
    """
    if Path(path).is_file():
        raise DataError(f"{path} is a file, but must be a folder: give another place")
    path = Path(path).resolve()
    partial = _partial(path)
    partial.mkdir(parents=True, exist_ok=True)
    with locked(partial, path):
        try:
            _empty(partial)
            yield partial
            # To remove it takes time, in which half of it would be there.
            replaced = path.with_name(f".{path.name}.replaced")
            shutil.rmtree(replaced, ignore_errors=True)
            if path.exists():
                os.replace(path, replaced)
            os.replace(partial, path)
            shutil.rmtree(replaced, ignore_errors=True)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _empty(folder: Path) -> None:
    """Removes what a killed process left."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def digest(value: Any) -> str:
    """A fingerprint of plain data (anything json can write)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("utf-8")).hexdigest()


def digest_of_list(values: Iterable[Any]) -> str:
    """What `digest` gives of a list of these, without the list."""
    sha = hashlib.sha256(b"[")
    for number, value in enumerate(values):
        sha.update(((", " if number else "") + json.dumps(value, sort_keys=True)).encode("utf-8"))
    sha.update(b"]")
    return sha.hexdigest()


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
        self._lock: Optional[int] = None

    @contextlib.contextmanager
    def alone(self) -> Iterator[int]:
        """Keeps other processes from these stages: those that belong together see no other's outputs between them.

        Yields:
            As :func:`locked`.

        Raises:
            DataError: Another process is at one of them.
        """
        if self._lock is not None:
            yield self._lock
            return
        with locked(self.stamps, self.folder) as self._lock:
            try:
                yield self._lock
            finally:
                self._lock = None

    def run(self, stage: str, options: Dict[str, Any], outputs: List[str], make: Callable[[], None]) -> bool:
        """Calls `make` unless the outputs are there, whole, from the same options.

        Args:
            stage: A name, used for the stamp and the log.
            options: Everything the outputs depend on, as plain data.
            outputs: Files relative to the folder.
            make: Writes all of them.

        Returns:
            True if `make` was called.

        Raises:
            DataError: Another process is at one of the stages, or `make` raised it.
        """
        with self.alone():
            return self._run(stage, options, outputs, make)

    def _run(self, stage: str, options: Dict[str, Any], outputs: List[str], make: Callable[[], None]) -> bool:
        stamp = self.stamps / f"{stage}.json"
        if self.is_current(stage, options):
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

    def is_current(self, stage: str, options: Dict[str, Any]) -> bool:
        """Whether the outputs of a stage are there, whole, from the same options."""
        try:
            known = json.loads((self.stamps / f"{stage}.json").read_text(encoding="utf-8"))
            found = {name: _describe(self.folder / name) for name in known["outputs"]}
        except (OSError, ValueError, KeyError):
            return False
        return known["options"] == options and known["outputs"] == found
