"""Zips of uncompressed members, written member by member: one can stop, go on later, or put several together.

The members of a zip stand one behind the other, and nothing in them depends on where; only the directory, which is
written last, says where each is. The same members give the same bytes.
"""

import io
import zipfile
import zlib
from typing import BinaryIO, Iterable, NamedTuple, Tuple

import numpy as np

LOCAL_HEADER_BYTES = 30
"""Fixed part of a zip member's header; the name follows, then the data (PKWARE APPNOTE 4.3.7)."""

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""The same for every member: a zip must not depend on the clock."""


class Member(NamedTuple):
    """A member of a zip, wherever it stands.

    Attributes:
        name: With its ending.
        length: Bytes of its content.
        crc: CRC-32 of its content.
    """

    name: str
    length: int
    crc: int

    @property
    def header(self) -> int:
        """Bytes that stand before its content."""
        return LOCAL_HEADER_BYTES + len(self.name.encode("utf-8"))

    def info(self, offset: int = 0) -> zipfile.ZipInfo:
        """What zipfile knows of it, at a place in the zip."""
        info = zipfile.ZipInfo(self.name, ZIP_TIME)
        info.create_system = 3  # Unix everywhere: the default depends on the machine that writes.
        info.external_attr = 0o644 << 16
        info.header_offset, info.CRC = offset, self.crc
        info.file_size = info.compress_size = self.length
        return info


def stored(name: str, features: np.ndarray) -> Tuple[Member, bytes]:
    """An array as a member of a zip.

    Args:
        name: Of the member, without `.npy`.
        features: float32 [T, F].

    Returns:
        The member, and its bytes: header and content.
    """
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(features))
    content = buffer.getvalue()
    member = Member(f"{name}.npy", len(content), zlib.crc32(content))
    return member, member.info().FileHeader(zip64=False) + content


def end_zip(file: BinaryIO, members: Iterable[Member]) -> None:
    """Writes the directory behind the members, with which the file begins, in this order; what follows them goes."""
    infos, offset = [], 0
    for member in members:
        infos.append(member.info(offset))
        offset += member.header + member.length
    file.seek(offset)
    file.truncate()
    with zipfile.ZipFile(file, "w") as archive:
        archive.infolist().extend(infos)
