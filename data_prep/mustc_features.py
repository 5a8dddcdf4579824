"""The features of a corpus in MuST-C's layout: one zip, the CMVN of its training clips, and what was skipped.

A part of `prep_mustc`. Each talk is opened once and its segments are cut alone; the order of the clips, and with it
every byte, is that of the text files, however many processes work.
"""

import json
import logging
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
from _command import in_order

from leap_fairseq.files import Stages, digest, file_digest, whole_file
from leap_fairseq.speech import NUM_MEL_BINS, AudioError, CmvnAccumulator, FeatureZip, fbank, load_segments
from leap_fairseq.speech.mustc import Segment, by_talk, split_folder

logger = logging.getLogger(__name__)

VERSION = 1
"""Raise it with every change that changes the features: prepared data is then made again."""

SRC_LANG = "en"
ZIP = f"fbank{NUM_MEL_BINS}.zip"
CMVN = "gcmvn.npz"
SKIPPED = "skipped_clips.tsv"
PROGRESS_EVERY = 2000

Corpus = Dict[str, List[Segment]]
"""The segments of each split."""

Clips = Dict[str, Dict[str, List[int]]]
"""For each split and clip: byte offset and length in the zip, and the number of frames."""


class TalkJob(NamedTuple):
    """The segments of one talk, by offset: what one process turns into features."""

    split: str
    wav: Path
    indices: List[int]
    times: List[Tuple[float, float]]


def extract_features(stages: Stages, root: Union[str, Path], tgt_lang: str, corpus: Corpus, processes: int) -> Clips:
    """Writes fbank80.zip, gcmvn.npz and skipped_clips.tsv, or finds them done.

    Args:
        stages: Of the data folder.
        root: Of the corpus.
        tgt_lang: Names the corpus's folder, en-TGT.
        corpus: What `read_split` read.
        processes: Worker processes.

    Returns:
        Where each clip is; the skipped ones are missing.

    Raises:
        DataError: No training clip has audio, or processes < 1.
    """
    index = stages.stamps / "clips.json"
    outputs = [ZIP, CMVN, SKIPPED, str(index.relative_to(stages.folder))]
    inputs = _fingerprint(root, tgt_lang, corpus)
    stages.run("features", inputs, outputs, lambda: _make_features(stages.folder, index, corpus, processes))
    return json.loads(index.read_text(encoding="utf-8"))


def _fingerprint(root: Union[str, Path], tgt_lang: str, corpus: Corpus) -> Dict[str, Any]:
    """What the features depend on. Times of change stand for the audio's bytes, which take too long to read."""
    result: Dict[str, Any] = {"version": VERSION, "num_mel_bins": NUM_MEL_BINS, "splits": {}}
    for split, segments in corpus.items():
        yaml_file = split_folder(root, split, tgt_lang, SRC_LANG) / "txt" / f"{split}.yaml"
        audio = []
        for wav in sorted({segment.wav for segment in segments}):
            facts = wav.stat() if wav.is_file() else None
            audio.append([wav.name, facts and facts.st_size, facts and facts.st_mtime_ns])
        result["splits"][split] = {"yaml": file_digest(yaml_file), "audio": digest(audio)}
    return result


def features_of_talk(job: TalkJob) -> List[Union[np.ndarray, str]]:
    """For each segment of a talk its features, float32 [T, 80], or why there are none."""
    results: List[Union[np.ndarray, str]] = []
    for samples in load_segments(job.wav, job.times, cut_at_end=True):
        if isinstance(samples, AudioError):
            # The file's name is enough; the list of skipped clips must not depend on where the corpus lies.
            results.append(str(samples).replace(str(job.wav), job.wav.name))
            continue
        frames = fbank(samples)
        results.append(frames if len(frames) else f"{job.wav.name}: shorter than one window of 25 ms")
    return results


def _make_features(out: Path, index_file: Path, corpus: Corpus, processes: int) -> None:
    """Writes the zip, the CMVN statistics of the training clips, where each clip is, and which were skipped."""
    jobs = [
        TalkJob(split, wav, indices, [(segments[i].offset, segments[i].duration) for i in indices])
        for split, segments in corpus.items()
        for wav, indices in by_talk(segments)
    ]
    total, done = sum(len(segments) for segments in corpus.values()), 0
    clips: Clips = {split: {} for split in corpus}
    skipped, cmvn = [], CmvnAccumulator()
    with FeatureZip(out / ZIP) as features:
        for job, results in zip(jobs, in_order(features_of_talk, jobs, processes)):
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
        file.writelines("\t".join(row) + "\n" for row in skipped)
    for split, name, reason in skipped[:5]:
        logger.warning("skipped %s of %s: %s", name, split, reason)
    level = logging.WARNING if skipped else logging.INFO
    logger.log(level, "%d of %d clips skipped, listed in %s", len(skipped), total, path)
