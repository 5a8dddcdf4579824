"""The features of a corpus: one zip, the CMVN of its training clips, and what was skipped.

A part of `prepared_data`. The order of the clips, and with it every byte, is that of the corpus's text files, however
many processes work, and however many jobs share the work (`feature_parts`). Where features are computed when they are
asked for, there is no zip.
"""

import contextlib
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from leap_fairseq.files import DataError, digest, whole_file
from leap_fairseq.parts import Part, listed, parts_in
from leap_fairseq.prepare.feature_parts import MEMBERS, FileJob, clips_of, is_complete, make_part, sums_of
from leap_fairseq.prepare.recipe_stages import AUDIO, RecipeStages
from leap_fairseq.speech import NUM_MEL_BINS, CmvnAccumulator
from leap_fairseq.speech.corpus import Corpus, Segment, by_file
from leap_fairseq.speech.dataset import SEPARATORS
from leap_fairseq.speech.stored_zip import end_zip

logger = logging.getLogger(__name__)

VERSION = 1
"""Raise it with every change that changes the features: prepared data is then made again."""

ZIP = f"fbank{NUM_MEL_BINS}.zip"
CMVN = "gcmvn.npz"
SKIPPED = "skipped_clips.tsv"
PARTS = "parts"

LONGEST_JOB = 1800.0
"""Seconds of sound; a job is what an interruption may lose, and what waits in memory."""

COPIED_AT_ONCE = 2**24
"""Bytes."""

Clips = Dict[str, Dict[str, List[int]]]
"""For each split and clip: the number of frames, and where they are zipped byte offset and length in the zip."""


class Features:
    """The features of a corpus, to be made or found done.

    Args:
        stages: Of the folder of the data.
        corpus: All of it.
        processes: Of workers.
        is_zipped: Whether features are kept in a zip, and not computed when they are asked for.
    """

    def __init__(self, stages: RecipeStages, corpus: Corpus, processes: int, is_zipped: bool):
        self._stages, self._corpus, self._processes, self._is_zipped = stages, corpus, processes, is_zipped
        self._parts = stages.stamps / PARTS
        self._index = stages.stamps / "clips.json"
        self._facts = {**_fingerprint(corpus), **({} if is_zipped else {"features": "audio"})}

    def make_part(self, part: Part) -> bool:
        """Makes a part, unless it or all is there; says which others are missing.

        Returns:
            Whether all parts are there.

        Raises:
            DataError: Another process is at this part, the folder is divided otherwise, or processes < 1.
        """
        if self._stages.is_current("features", self._facts):
            return True
        self._check_division(part.count)
        self._make(part)
        missing = [each for each in part.all() if not is_complete(self._folder(each), self._of(each))]
        # The job that joins them removes them, when it is done.
        if missing and self._stages.is_current("features", self._facts):
            return True
        if missing:
            there = f"{part.count - len(missing)} of {part.count} parts are in {self._parts}"
            sys.stdout.write(f"{there}; other jobs have to make the rest, {listed(missing)}\n")
        return not missing

    def make(self) -> Clips:
        """Writes fbank80.zip, gcmvn.npz and skipped_clips.tsv, from what parts there are, or finds them done.

        Returns:
            Where each clip is; the skipped ones are missing.

        Raises:
            DataError: No training clip has audio, another process is at a part, or processes < 1.
        """
        outputs = [CMVN, SKIPPED, str(self._index.relative_to(self._stages.folder))]
        outputs = [ZIP, *outputs] if self._is_zipped else outputs
        self._stages.run("features", self._facts, outputs, self._make_all)
        shutil.rmtree(self._parts, ignore_errors=True)
        return json.loads(self._index.read_text(encoding="utf-8"))

    def _folder(self, part: Part) -> Path:
        return self._parts / part.folder

    def _of(self, part: Part) -> Dict[str, Any]:
        return {**self._facts, "part": list(part)}

    def _check_division(self, count: Optional[int] = None) -> int:
        """How many parts there are; 1 where there is none yet."""
        found = sorted({part.count for part in parts_in(self._parts)} | ({count} if count else set()))
        if len(found) > 1:
            numbers = " and ".join(map(str, found))
            rule = f"divisions into {numbers} parts exclude each other in {self._parts}"
            raise DataError(f"{rule}: go on with one of them, and remove what is there of others (--part)")
        return found[0] if found else 1

    def _make(self, part: Part) -> None:
        jobs = list(_jobs(self._corpus, self._is_zipped))
        ends, total = [], 0
        for job in jobs:
            total += len(job.names)
            ends.append(total)
        # A job belongs to the part in which its last clip is.
        of_part = part.of(total)
        chosen = [job for job, end in zip(jobs, ends) if end - 1 in of_part]
        make_part(self._folder(part), self._of(part), chosen, self._processes)

    def _make_all(self) -> None:
        parts = Part(0, self._check_division()).all()
        for part in parts:
            self._make(part)
        folders = [self._folder(part) for part in parts]
        self._write_statistics(folders)
        if self._is_zipped:
            _join(folders, self._stages.folder / ZIP)

    def _write_statistics(self, folders: Sequence[Path]) -> None:
        clips: Clips = {split: {} for split in self._corpus}
        skipped = [(split, each.id, each.fault) for split, of in self._corpus.items() for each in of if each.fault]
        cmvn, offset, total = CmvnAccumulator(), 0, sum(map(len, self._corpus.values()))
        for folder in folders:
            sums = sums_of(folder)
            for clip in clips_of(folder):
                if not clip.frames:
                    skipped.append((clip.split, clip.name, clip.reason))
                    continue
                if clip.split == "train":
                    cmvn.add_sums(clip.frames, next(sums))
                place = [offset + clip.member.header, clip.length] if self._is_zipped else []
                clips[clip.split][clip.name] = [*place, clip.frames]
                offset += clip.size
        cmvn.finish().save(self._stages.folder / CMVN)
        with whole_file(self._index, text=True) as file:
            json.dump(clips, file)
        _report_skipped(self._stages.folder / SKIPPED, skipped, total)


def _fingerprint(corpus: Corpus) -> Dict[str, Any]:
    """What the features depend on. Times of change stand for the audio's bytes, which take too long to read."""
    segments, audio = {}, {}
    for split, of_split in corpus.items():
        facts = [[segment.id, segment.offset, segment.duration, *filter(None, [segment.fault])] for segment in of_split]
        segments[split] = digest(facts)
        facts = []
        for path, _ in sorted(by_file(of_split)):
            found = path.stat() if path.is_file() else None
            facts.append([path.name, found and found.st_size, found and found.st_mtime_ns])
        audio[split] = digest(facts)
    return {"version": VERSION, "num_mel_bins": NUM_MEL_BINS, "segments": segments, AUDIO: audio}


def _jobs(corpus: Corpus, is_zipped: bool) -> Iterator[FileJob]:
    """The segments of each file, in stretches of half an hour."""
    for split, segments in corpus.items():
        for audio, indices in by_file(segments):
            stretch: List[int] = []
            seconds = 0.0
            for index in indices:
                duration = segments[index].duration or 0.0
                if stretch and seconds + duration > LONGEST_JOB:
                    yield _job(split, segments, audio, stretch, is_zipped)
                    stretch, seconds = [], 0.0
                stretch.append(index)
                seconds += duration
            yield _job(split, segments, audio, stretch, is_zipped)


def _job(split: str, segments: Sequence[Segment], audio: Path, indices: List[int], is_zipped: bool) -> FileJob:
    of_file = [segments[index] for index in indices]
    times = [(segment.offset, segment.duration) for segment in of_file]
    return FileJob(split, audio, [segment.id for segment in of_file], times, is_zipped)


def _join(folders: Sequence[Path], path: Path) -> None:
    """Makes one zip of the members of all parts; those of a single part become it, without being copied."""
    first = folders[0] / MEMBERS
    with contextlib.ExitStack() as stack:
        if len(folders) == 1:
            file = stack.enter_context(open(first, "r+b"))
        else:
            logger.info("joining the features of %d parts to %s", len(folders), path)
            file = stack.enter_context(whole_file(path))
            for folder in folders:
                with open(folder / MEMBERS, "rb") as part:
                    shutil.copyfileobj(part, file, COPIED_AT_ONCE)
        end_zip(file, (clip.member for folder in folders for clip in clips_of(folder) if clip.frames))
    if len(folders) == 1:
        os.replace(first, path)


def _report_skipped(path: Path, skipped: Sequence[Tuple[str, str, str]], total: int) -> None:
    with whole_file(path, text=True) as file:
        file.write("split\tid\treason\n")
        file.writelines("\t".join(SEPARATORS.sub(" ", cell) for cell in row) + "\n" for row in skipped)
    for split, name, reason in skipped[:5]:
        logger.warning("skipped %s of %s: %s", name, split, reason)
    level = logging.WARNING if skipped else logging.INFO
    logger.log(level, "%d of %d clips skipped, listed in %s", len(skipped), total, path)
