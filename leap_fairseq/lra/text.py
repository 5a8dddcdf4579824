"""Text classification: reviews as bytes, positive or negative.

Read from a folder, zip or tar with {train,test}/{pos,neg}/*.txt, as IMDb's aclImdb_v1.tar.gz has them, or with
{pos,neg}/*.txt alone. A token is a byte plus 1; what is longer than the limit is cut at its end.
Source: Maas et al. 2011; google-research/long-range-arena, lra_benchmarks/text_classification/input_pipeline.py, which
validates on the test set.
"""

import logging
from pathlib import Path
from typing import Dict, List, Sequence, Union

import numpy as np

from leap_fairseq.files import DataError
from leap_fairseq.lra import LraFacts
from leap_fairseq.lra.data_set import Writer, write_data_set
from leap_fairseq.lra.division import divide
from leap_fairseq.prepare.sources import SourceFile, digest_of, files_of

logger = logging.getLogger(__name__)

PATTERN = r"(?:(?P<split>train|test)/)?(?P<label>pos|neg)/[^/]+\.txt"
LABELS = {"neg": 0, "pos": 1}
ORIGIN = "aclImdb_v1.tar.gz of ai.stanford.edu/~amaas/data/sentiment"
PUBLISHED = {"train": 25_000, "test": 25_000}
BYTES = 256


def prep_text(
    out: Union[str, Path],
    source: Union[str, Path],
    max_length: int = 4000,
    valid: float = 0.1,
    test: float = 0.1,
    seed: int = 1,
) -> LraFacts:
    """Makes the data set, or finds it done; the arguments are the command's.

    Raises:
        DataError: Reviews are missing or empty, or an option is impossible.
    """
    if max_length < 1:
        raise DataError(f"--max-length is {max_length}, but must be 1 byte or more")
    files = files_of(source, PATTERN)
    _check_files(files, source)
    options = {"source": digest_of(files), "max_length": max_length, "valid": valid, "test": test, "seed": seed}

    def make(writer: Writer) -> None:
        for split, of_split in _divided(files, valid, test, seed).items():
            lengths = np.array([len(file.content) for file in of_split])
            cut = f"{100 * (lengths > max_length).mean():.1f} % are cut"
            logger.info("%s: %d reviews, mean %.0f bytes; %s", split, len(of_split), lengths.mean(), cut)
            for file in of_split:
                writer.add(split, LABELS[file.groups["label"]], as_tokens(file.content, max_length))

    return write_data_set(out, LraFacts("text", BYTES + 1, len(LABELS), max_length), options, make)


def as_tokens(content: bytes, max_length: int) -> np.ndarray:
    """Bytes plus 1, uint16 [at most max_length]."""
    return np.frombuffer(content[:max_length], np.uint8).astype(np.uint16) + 1


def _check_files(files: List[SourceFile], source: Union[str, Path]) -> None:
    found = {(file.groups["split"], file.groups["label"]) for file in files}
    splits = ("train", "test") if any(split for split, _ in found) else ("",)
    for split in splits:
        for label in LABELS:
            if (split, label) not in found:
                missing = "/".join(filter(None, (split, label, "*.txt")))
                raise DataError(f"{source} has no {missing}: give a folder, zip or tar as {ORIGIN} is one")
    if {split for split, _ in found} != set(splits):
        raise DataError(f"{source} has reviews within train and test and others without: give one data set")
    for file in files:
        if not file.content:
            raise DataError(f"{file.name} in {source} is empty: delete it, or fetch it again")


def _divided(files: List[SourceFile], valid: float, test: float, seed: int) -> Dict[str, List[SourceFile]]:
    if not files[0].groups["split"]:
        names, fractions = ("train", "valid", "test"), (valid, test)
        if min(fractions) <= 0:
            raise DataError(f"--valid {valid:g} and --test {test:g} must be above 0: the source has one split only")
        return dict(zip(names, _parts(files, fractions, seed)))
    splits = {name: [file for file in files if file.groups["split"] == name] for name in PUBLISHED}
    counts = {name: len(of_split) for name, of_split in splits.items()}
    if counts != PUBLISHED:
        logger.warning("%s reviews, not the %s of IMDb: scores do not compare with published ones", counts, PUBLISHED)
    train, held_out = _parts(splits["train"], (valid,), seed)
    if not held_out:
        logger.warning("--valid 0: validation is the test, as published; choose no checkpoint by it")
    return {"train": train, "valid": held_out or splits["test"], "test": splits["test"]}


def _parts(files: List[SourceFile], fractions: Sequence[float], seed: int) -> List[List[SourceFile]]:
    labels = [LABELS[file.groups["label"]] for file in files]
    return [[files[i] for i in part] for part in divide(labels, fractions, seed)]
