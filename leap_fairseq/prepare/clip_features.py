"""The features of a corpus: one zip, the CMVN of its training clips, and what was skipped.

A part of `prepared_data`. Each audio file is opened once and its segments are cut alone; the order of the clips, and
with it every byte, is that of the corpus's text files, however many processes work.
"""

import functools
import json
import logging
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from leap_fairseq.files import digest, whole_file
from leap_fairseq.prepare.processes import in_order
from leap_fairseq.prepare.recipe_stages import AUDIO, RecipeStages
from leap_fairseq.speech import NUM_MEL_BINS, AudioError, CmvnAccumulator, FeatureZip, fbank, load_segments
from leap_fairseq.speech.corpus import Corpus, by_file
from leap_fairseq.speech.dataset import SEPARATORS

logger = logging.getLogger(__name__)

VERSION = 1
"""Raise it with every change that changes the features: prepared data is then made again."""

ZIP = f"fbank{NUM_MEL_BINS}.zip"
CMVN = "gcmvn.npz"
SKIPPED = "skipped_clips.tsv"
PROGRESS_EVERY = 2000

Clips = Dict[str, Dict[str, List[int]]]
"""For each split and clip: byte offset and length in the zip, and the number of frames."""


class FileJob(NamedTuple):
    """The segments of one audio file, by offset: what one process turns into features."""

    split: str
    audio: Path
    indices: List[int]
    times: List[Tuple[float, Optional[float]]]


def extract_features(stages: RecipeStages, corpus: Corpus, processes: int) -> Clips:
    """Writes fbank80.zip, gcmvn.npz and skipped_clips.tsv, or finds them done.

    Returns:
        Where each clip is; the skipped ones are missing.

    Raises:
        DataError: No training clip has audio, or processes < 1.
    """
    index = stages.stamps / "clips.json"
    outputs = [ZIP, CMVN, SKIPPED, str(index.relative_to(stages.folder))]
    make = functools.partial(_make_features, stages.folder, index, corpus, processes)
    stages.run("features", _fingerprint(corpus), outputs, make)
    return json.loads(index.read_text(encoding="utf-8"))


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


def features_of_file(job: FileJob) -> List[Union[np.ndarray, str]]:
    """For each segment of a file its features, float32 [T, 80], or why there are none."""
    results: List[Union[np.ndarray, str]] = []
    for samples in load_segments(job.audio, job.times, cut_at_end=True):
        if isinstance(samples, AudioError):
            # The file's name is enough; the list of skipped clips must not depend on where the corpus lies.
            results.append(str(samples).replace(str(job.audio), job.audio.name))
            continue
        frames = fbank(samples)
        results.append(frames if len(frames) else f"{job.audio.name}: shorter than one window of 25 ms")
    return results


def _make_features(out: Path, index_file: Path, corpus: Corpus, processes: int) -> None:
    """Writes the zip, the CMVN statistics of the training clips, where each clip is, and which were skipped."""
    jobs = [
        FileJob(split, audio, indices, [(segments[i].offset, segments[i].duration) for i in indices])
        for split, segments in corpus.items()
        for audio, indices in by_file(segments)
    ]
    total, done = sum(len(segments) for segments in corpus.values()), 0
    clips: Clips = {split: {} for split in corpus}
    skipped = [(split, segment.id, segment.fault) for split in corpus for segment in corpus[split] if segment.fault]
    cmvn = CmvnAccumulator()
    with FeatureZip(out / ZIP) as features:
        for job, results in zip(jobs, in_order(features_of_file, jobs, processes)):
            for index, frames in zip(job.indices, results):
                name = corpus[job.split][index].id
                if isinstance(frames, str):
                    skipped.append((job.split, name, frames))
                    continue
                clips[job.split][name] = [*features.add(f"{job.split}/{name}", frames), len(frames)]
                if job.split == "train":
                    cmvn.add(frames)
            if (done + len(results)) // PROGRESS_EVERY > done // PROGRESS_EVERY:
                logger.info("features: %d of %d clips", done + len(results), total)
            done += len(results)
    cmvn.finish().save(out / CMVN)
    with whole_file(index_file, text=True) as file:
        json.dump(clips, file)
    _report_skipped(out / SKIPPED, skipped, total)


def _report_skipped(path: Path, skipped: Sequence[Tuple[str, str, str]], total: int) -> None:
    with whole_file(path, text=True) as file:
        file.write("split\tid\treason\n")
        file.writelines("\t".join(SEPARATORS.sub(" ", cell) for cell in row) + "\n" for row in skipped)
    for split, name, reason in skipped[:5]:
        logger.warning("skipped %s of %s: %s", name, split, reason)
    level = logging.WARNING if skipped else logging.INFO
    logger.log(level, "%d of %d clips skipped, listed in %s", len(skipped), total, path)
