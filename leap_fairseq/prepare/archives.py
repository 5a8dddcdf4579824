"""Members of zips and tars, read as streams; nothing is ever unpacked to disk.

An archive is somebody else's: what it grows to has a bound, and a member that is not plain data under a plain name is
refused by name. What is legitimate and larger can be unpacked by hand: all readers take a folder as well.
"""

import bz2
import contextlib
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Callable, Iterator, Tuple, Type

from leap_fairseq.files import DataError

MOST_BYTES = 4 * 2**30
"""Of all that is read of an archive; eight times WikiText-103."""

READ_ERRORS = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, zlib.error)
READ_ERRORS += (lzma.LZMAError,)
"""What reading a damaged archive raises."""

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED = 1
"""Bit of a zip member's flags. Source: PKWARE APPNOTE 4.4.4."""

COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
"""How a tar is opened that begins with these bytes."""


@contextlib.contextmanager
def errors_named(what: object, rule: str, *further: Type[Exception]) -> Iterator[None]:
    """Turns what reading `what` may raise, and further errors, into a DataError with its name and the rule."""
    try:
        yield
    except DataError:
        raise
    except (*READ_ERRORS, *further) as error:
        raise DataError(f"cannot read {what}, {rule}: {error}") from error


Members = Iterator[Tuple[str, Callable[[], IO[bytes]]]]
"""Names, and for each what opens it, before the next one is asked for."""


def members(path: Path, wanted: Callable[[str], object]) -> Members:
    """The files in a zip or tar.

    Args:
        path: Of the archive.
        wanted: Whether a file is read, by its name; the others are passed over.

    Raises:
        DataError: A wanted member is encrypted, compressed by an unknown method, a link, a device, or under an absolute
            path or one with `..`, or the archive grows to more than MOST_BYTES, or a tar breaks off.
    """
    return (_zip_members if zipfile.is_zipfile(path) else _tar_members)(path, wanted)


def check_inside(folder: Path, path: Path) -> None:
    """Refuses a file of a folder that is a link to somewhere else, or no file, with a DataError."""
    if not path.is_file():
        raise DataError(f"{path} is a pipe, a device or a dead link, but must be a file")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{path} is a link out of {folder}, to {path.resolve()}: put the file itself there")


def _zip_members(path: Path, wanted: Callable[[str], object]) -> Members:
    total = 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir() or not wanted(info.filename):
                continue
            _check_name(path, info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _refused(path, info.filename, "is a link or a device")
            if info.flag_bits & ENCRYPTED:
                raise _refused(path, info.filename, "is encrypted")
            if info.compress_type not in METHODS:
                raise _refused(path, info.filename, f"is compressed by the unknown method {info.compress_type}")
            # No more than this is ever read of the member.
            total += info.file_size
            _check_total(path, info.filename, total)
            yield info.filename, lambda info=info: archive.open(info)


def _tar_members(path: Path, wanted: Callable[[str], object]) -> Members:
    with open(path, "rb") as raw:
        opened = COMPRESSED.get(raw.read(2), open)
    with opened(path, "rb") as file:
        bounded = _Bounded(file, path)
        with tarfile.open(fileobj=bounded, mode="r:") as archive:
            for member in archive:
                bounded.member = member.name
                if member.isdir() or not wanted(member.name):
                    continue
                _check_name(path, member.name)
                if not member.isreg() or member.issparse():
                    raise _refused(path, member.name, "is a link, a device or a sparse file")
                yield member.name, lambda member=member: archive.extractfile(member)
        # tarfile takes a damaged header for the end, which is a block of zeros.
        if bounded.last.strip(b"\0") or not bounded.last:
            raise DataError(f"{path} breaks off, or is damaged, behind {bounded.member}: fetch it again")


class _Bounded:
    """What tarfile reads through: it would also read the name of a member, however long the archive says it is.

    Attributes:
        member: The last one, for messages.
        last: What was read last.
    """

    def __init__(self, file: BinaryIO, path: Path):
        self._file, self._path = file, path
        self.member, self.last = "its beginning", b""

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, position: int) -> int:
        _check_total(self._path, self.member, position)
        return self._file.seek(position)

    def read(self, size: int) -> bytes:
        _check_total(self._path, self.member, self._file.tell() + size)
        self.last = self._file.read(size)
        return self.last


def _check_name(path: Path, name: str) -> None:
    if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts:
        raise _refused(path, name, "has a path that leads out of the archive")


def _check_total(path: Path, name: str, total: int) -> None:
    if total > MOST_BYTES:
        raise _refused(path, name, f"grows the archive to {total:,} bytes, and at most {MOST_BYTES:,} are read of one")


def _refused(path: Path, name: str, reason: str) -> DataError:
    remedy = "if you trust it, unpack it yourself and give the folder"
    return DataError(f"{path}: the member {name!r} {reason}: {remedy}")
