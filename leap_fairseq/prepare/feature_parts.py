"""The features of a part of a corpus, on disk: they grow clip by clip, and an interrupted run goes on behind the last.

A part has a folder: `members` are the clips as members of a zip that has no directory yet, `clips.jsonl` is a line for
each clip, `sums` what the CMVN takes of each training clip. What a line says is on the disk before the line is.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from leap_fairseq.files import locked, whole_file
from leap_fairseq.prepare.processes import in_order
from leap_fairseq.prepare.progress import Progress
from leap_fairseq.speech import NUM_MEL_BINS, AudioError, fbank, load_segments
from leap_fairseq.speech.features import clip_sums
from leap_fairseq.speech.stored_zip import Member, stored

MEMBERS, JOURNAL, SUMS, COMPLETE, OF, LOCK = "members", "clips.jsonl", "sums", "complete", "of.json", "lock"

COMMIT_EVERY = 10.0
"""Seconds between two moments at which all that is done is safe on the disk."""

SUMS_SHAPE = (2, NUM_MEL_BINS)
SUMS_BYTES = 8 * 2 * NUM_MEL_BINS


class FileJob(NamedTuple):
    """Segments of one audio file, by offset: what one process turns into features.

    Attributes:
        split: Of the corpus; the statistics are those of train.
        audio: The file.
        names: Of the segments.
        times: Offset and duration of each, in seconds.
        is_zipped: Whether the features are kept, and not only their number and sums.
    """

    split: str
    audio: Path
    names: List[str]
    times: List[Tuple[float, Optional[float]]]
    is_zipped: bool = True


class Clip(NamedTuple):
    """A segment, done: a line of the journal.

    Attributes:
        split: Of the corpus.
        name: Of the segment.
        frames: Number of its frames; 0 where it is skipped.
        reason: Why it is skipped.
        length: Bytes of its .npy.
        crc: Of its .npy.
    """

    split: str
    name: str
    frames: int
    reason: str = ""
    length: int = 0
    crc: int = 0

    @property
    def member(self) -> Member:
        """Where it is kept."""
        return Member(f"{self.split}/{self.name}.npy", self.length, self.crc)

    @property
    def size(self) -> int:
        """Bytes of its member."""
        return self.member.header + self.length if self.length else 0


class Made(NamedTuple):
    """What a worker has made of a segment: its line, its member, and its sums."""

    clip: Clip
    member: bytes = b""
    sums: bytes = b""


def features_of_file(job: FileJob) -> List[Made]:
    """The features of each segment of a file, or why there are none."""
    made = []
    for name, samples in zip(job.names, load_segments(job.audio, job.times, cut_at_end=True)):
        if isinstance(samples, AudioError):
            # The file's name is enough; the list of skipped clips must not depend on where the corpus lies.
            reason = str(samples).replace(str(job.audio), job.audio.name)
            made.append(Made(Clip(job.split, name, 0, reason)))
            continue
        frames = fbank(samples)
        if not len(frames):
            made.append(Made(Clip(job.split, name, 0, f"{job.audio.name}: shorter than one window of 25 ms")))
            continue
        clip, content = Clip(job.split, name, len(frames)), b""
        if job.is_zipped:
            member, content = stored(f"{job.split}/{name}", frames)
            clip = clip._replace(length=member.length, crc=member.crc)
        made.append(Made(clip, content, clip_sums(frames).tobytes() if job.split == "train" else b""))
    return made


def make_part(folder: Path, of: Dict[str, Any], jobs: Sequence[FileJob], processes: int) -> None:
    """Makes the features of a part, or the rest of them.

    Args:
        folder: Of the part.
        of: What the features depend on, as plain data; a part of something else begins anew.
        jobs: All of the part.
        processes: Of workers.

    Raises:
        DataError: Another process is at it, or processes < 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOCK).touch()
    with locked(folder / LOCK, f"the features in {folder}"):
        _claim(folder, of)
        if is_complete(folder, of):
            return
        (folder / COMPLETE).unlink(missing_ok=True)
        with _Record(folder) as record:
            sizes = [len(job.names) for job in jobs]
            done = record.rewind(sizes)
            progress = Progress("features", sum(sizes), sum(sizes[:done]))
            for results in in_order(features_of_file, jobs[done:], processes):
                record.add(results)
                progress.add(len(results))
        (folder / COMPLETE).touch()


def is_complete(folder: Path, of: Dict[str, Any]) -> bool:
    """Whether a part is there, of the same data."""
    return all((folder / name).is_file() for name in (COMPLETE, MEMBERS)) and _known(folder) == of


def clips_of(folder: Path) -> Iterator[Clip]:
    """The clips of a complete part, in order."""
    with open(folder / JOURNAL, encoding="utf-8") as file:
        yield from (Clip(*json.loads(line)) for line in file)


def sums_of(folder: Path) -> Iterator[np.ndarray]:
    """The sums of its training clips, in order, as `clip_sums` gives them."""
    with open(folder / SUMS, "rb") as file:
        while content := file.read(SUMS_BYTES):
            yield np.frombuffer(content).reshape(SUMS_SHAPE)


def _known(folder: Path) -> Any:
    try:
        return json.loads((folder / OF).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _claim(folder: Path, of: Dict[str, Any]) -> None:
    """Empties the folder of a part of something else."""
    if _known(folder) == of:
        return
    for name in (OF, COMPLETE, JOURNAL, MEMBERS, SUMS):
        (folder / name).unlink(missing_ok=True)
    with whole_file(folder / OF, text=True) as file:
        json.dump(of, file)


def _clip(line: bytes) -> Optional[Clip]:
    """A line of the journal; None for one that breaks off."""
    try:
        return Clip(*json.loads(line)) if line.endswith(b"\n") else None
    except (ValueError, TypeError):
        return None


class _Record:
    """The three files of a part, open for appending; as a context, at whose end all is on the disk."""

    def __init__(self, folder: Path):
        for name in (MEMBERS, JOURNAL, SUMS):
            (folder / name).touch()
        self._journal, self._members, self._sums = (open(folder / name, "r+b") for name in (JOURNAL, MEMBERS, SUMS))
        self._lines: List[bytes] = []
        self._committed = time.monotonic()

    def __enter__(self) -> "_Record":
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            self._commit()
        finally:
            for file in (self._members, self._sums, self._journal):
                file.close()

    def rewind(self, sizes: Sequence[int]) -> int:
        """Goes behind the last job that is whole, and cuts off what is behind it.

        Args:
            sizes: Number of segments of each job.

        Returns:
            How many jobs are whole.
        """
        files = self._journal, self._members, self._sums
        there = [os.fstat(file.fileno()).st_size for file in files]
        place, ends, done, clips = [0, 0, 0], [0, 0, 0], 0, 0
        for line in self._journal:
            clip = _clip(line)
            if clip is None or done == len(sizes):
                break
            added = len(line), clip.size, SUMS_BYTES if clip.split == "train" and clip.frames else 0
            place, clips = [a + b for a, b in zip(place, added)], clips + 1
            if any(end > size for end, size in zip(place, there)):
                break
            if clips == sizes[done]:
                done, clips, ends = done + 1, 0, place
        for file, end in zip(files, ends):
            file.truncate(end)
            file.seek(end)
        return done

    def add(self, results: List[Made]) -> None:
        """Appends the segments of one job."""
        for clip, member, sums in results:
            self._members.write(member)
            self._sums.write(sums)
            self._lines.append(json.dumps(clip, ensure_ascii=False).encode("utf-8") + b"\n")
        if time.monotonic() - self._committed >= COMMIT_EVERY:
            self._commit()

    def _commit(self) -> None:
        for file in (self._members, self._sums):
            file.flush()
            os.fsync(file.fileno())
        # Taken before they are written: where this is interrupted, the commit at the end must not write them again.
        lines, self._lines = self._lines, []
        self._journal.write(b"".join(lines))
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._committed = time.monotonic()
