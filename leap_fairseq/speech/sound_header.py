"""What the header of an audio file says about its length, compared with the bytes that are there.

A recorder that was killed, a pipe, a torn download and two files in one all leave a header that is not true, which
libsndfile believes in silence.
"""

import os
import struct
from typing import BinaryIO, Iterator, NamedTuple, Optional, Tuple

UNKNOWN_SIZE = 0x7FFFF000
"""Bytes; what sox writes into a pipe, others more. Source: sox, wav.c."""

WAV_UNCOMPRESSED = (1, 3, 0xFFFE)
"""Kinds whose size must be whole samples: integers, floats, and either. Source: Microsoft, mmreg.h."""

ID3_HEADER = 10
"""Bytes. Source: id3.org, ID3v2.4 structure, 3.1; the size that follows has seven bits a byte."""

XING_TAGS = (b"Xing", b"Info")
LENGTH_TAGS = (*XING_TAGS, b"VBRI")
TAG_WITHIN = 64
"""Bytes of the first frame: 4 of header, 2 of checksum and at most 32 of side information come before the tag, of which
16 are read."""

XING_FRAMES, XING_BYTES = 1, 2
"""Flags of a Xing or Info tag: the numbers that follow. Source: LAME, VbrTag.c."""

OGG_HEADER, OGG_LAST = 27, 4
"""Bytes of a page's header, and its flag of the last page. Source: RFC 3533, section 6."""

OGG_PAGE = 2**16
"""Bytes; no page is longer."""


class ToldLength(NamedTuple):
    """What a header says about the sound in a file.

    Attributes:
        place: Where it says so.
        size: Bytes of sound.
        there: Bytes that are there, from the beginning of the sound to the end of the file.
        flaw: What is wrong, as half a sentence, or None.
    """

    place: int
    size: int
    there: int
    flaw: Optional[str] = None

    def wrong(self) -> "ToldLength":
        """The same, with the flaw."""
        return self._replace(flaw=f"its header says {self.size} bytes of sound, but {self.there} are there")

    @property
    def breaks_off(self) -> bool:
        """Whether sound is missing; who does not know the size writes 0 or a very large one."""
        return self.size - self.there > 1 and self.size < UNKNOWN_SIZE


def wav_length(path: str) -> Optional[ToldLength]:
    """Reads the header of a RIFF file; None for another kind of wav."""
    total = os.path.getsize(path)
    with open(path, "rb") as file:
        if file.read(4) != b"RIFF":
            return None
        frame = 1
        for name, start, size in _chunks(file, 12, total):
            if name == b"fmt " and size >= 14:
                file.seek(start)
                kind, align = struct.unpack("<H10xH", file.read(14))
                frame = align if align and kind in WAV_UNCOMPRESSED else 1
            if name == b"data":
                told, end = ToldLength(start - 4, size, total - start), start + size
                # Behind the samples there may be other chunks, and nothing else; some writers forget the even place.
                whole = end <= total and any(_ends_well(file, place, total) for place in (end + size % 2, end))
                return told if whole and size % frame == 0 else told.wrong()
    return None


def _chunks(file: BinaryIO, start: int, total: int) -> Iterator[Tuple[bytes, int, int]]:
    """Name, beginning and size of each chunk, as long as they lie in the file."""
    while start + 8 <= total:
        file.seek(start)
        name, size = struct.unpack("<4sI", file.read(8))
        yield name, start + 8, size
        start += 8 + size + size % 2


def _ends_well(file: BinaryIO, start: int, total: int) -> bool:
    """Whether nothing is left, or chunks with names of letters up to the end."""
    for name, begin, size in _chunks(file, start, total):
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        start = begin + size + size % 2
    return total <= start <= total + 1 or total - start == 1


def mp3_length(path: str) -> Optional[ToldLength]:
    """Reads the tag in the first frame of an mp3 that holds its length; None without one."""
    frame, start = _first_frame(path)
    place = max(frame.find(tag) for tag in LENGTH_TAGS)
    if place < 0:
        return None
    there = os.path.getsize(path) - start
    flags = numbers = 0
    if frame[place : place + 4] in XING_TAGS and len(frame) >= place + 16:
        flags, *numbers = struct.unpack_from(">3I", frame, place + 4)
    if not flags & XING_BYTES:
        return ToldLength(start + place, there, there)
    told = ToldLength(start + place, numbers[1 if flags & XING_FRAMES else 0], there)
    return told.wrong() if there < told.size or _another_follows(path, start + told.size) else told


def _another_follows(path: str, place: int) -> bool:
    """Whether an mp3 frame or the head of another file comes there; a tag with title and artist may."""
    with open(path, "rb") as file:
        file.seek(place)
        head = file.read(3)
    return len(head) == 3 and (head == b"ID3" or (head[0] == 0xFF and head[1] & 0xE0 == 0xE0))


def _first_frame(path: str) -> Tuple[bytes, int]:
    """The beginning of an mp3 behind a tag with title and artist, and where it is."""
    with open(path, "rb") as file:
        head = file.read(ID3_HEADER)
        size = 0
        if head.startswith(b"ID3"):
            for byte in head[6:]:
                size = size << 7 | byte & 0x7F
            size += ID3_HEADER
        file.seek(size)
        return file.read(TAG_WITHIN), size


def ogg_flaw(path: str) -> Optional[str]:
    """Looks for the last page of an ogg file."""
    total = os.path.getsize(path)
    with open(path, "rb") as file:
        file.seek(max(0, total - OGG_PAGE))
        end = file.read()
    page = end.rfind(b"OggS")
    if page >= 0 and len(end) >= page + OGG_HEADER and end[page + 5] & OGG_LAST:
        return None
    return "it has no last page, so it breaks off"
