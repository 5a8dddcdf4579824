"""Document retrieval: is there a citation link between two papers of the ACL Anthology Network?

Read from new_aan_pairs.{train,eval,test}.tsv: LABEL, ID1, ID2, TEXT1, TEXT2 between tabs, no quotes, no header. Texts
are taken as they stand, with Python's b'...' around them, as the benchmark's own reader does. A token is a byte plus 1.
Source: Radev et al. 2013; google-research/long-range-arena, lra_benchmarks/matching/input_pipeline.py.
"""

import logging
from pathlib import Path
from typing import Dict, Iterator, Tuple, Union

from leap_fairseq.files import DataError, file_digest
from leap_fairseq.lra import LraFacts
from leap_fairseq.lra.data_set import Writer, write_data_set
from leap_fairseq.lra.text import BYTES, as_tokens
from leap_fairseq.prepare.archives import check_inside

logger = logging.getLogger(__name__)

NAMES = {"train": "new_aan_pairs.train.tsv", "valid": "new_aan_pairs.eval.tsv", "test": "new_aan_pairs.test.tsv"}
PUBLISHED = {"train": 147_086, "valid": 18_090, "test": 17_437}
ORIGIN = "lra_release/tsv_data in lra_release.gz of github.com/google-research/long-range-arena"
LABELS = {b"0": 0, b"0.0": 0, b"1": 1, b"1.0": 1}
COLUMNS = 5


def prep_retrieval(out: Union[str, Path], source: Union[str, Path], max_length: int = 4000) -> LraFacts:
    """Makes the data set, or finds it done; the arguments are the command's, the TSV files lie at any depth.

    Raises:
        DataError: A file is missing, or a line of one is wrong.
    """
    if max_length < 1:
        raise DataError(f"--max-length is {max_length}, but must be 1 byte or more")
    paths = _find(Path(source))
    options = {"source": {split: file_digest(path) for split, path in paths.items()}, "max_length": max_length}

    def make(writer: Writer) -> None:
        counts = {}
        for split, path in paths.items():
            counts[split] = positive = 0
            for label, first, second in read_pairs(path):
                counts[split] += 1
                positive += label
                writer.add(split, label, as_tokens(first, max_length), as_tokens(second, max_length))
            logger.info("%s: %d pairs, %.1f %% positive", split, counts[split], 100 * positive / max(counts[split], 1))
        if counts != PUBLISHED:
            logger.warning("%s pairs, not the %s published: scores do not compare", counts, PUBLISHED)

    return write_data_set(out, LraFacts("retrieval", BYTES + 1, 2, max_length, pairs=True), options, make)


def _find(source: Path) -> Dict[str, Path]:
    found = {split: sorted(source.rglob(name)) for split, name in NAMES.items()}
    missing = [NAMES[split] for split, paths in found.items() if not paths]
    if missing:
        raise DataError(f"{source} has no {', '.join(missing)}: unpack {ORIGIN}, and give its folder")
    for split, paths in found.items():
        check_inside(source, paths[0])
        if len(paths) > 1:
            raise DataError(f"{source} has {NAMES[split]} {len(paths)} times: give the folder of one of them")
    return {split: paths[0] for split, paths in found.items()}


def read_pairs(path: Path) -> Iterator[Tuple[int, bytes, bytes]]:
    """Reads a TSV: of each line the label and both documents, never empty.

    Raises:
        DataError: A line with other columns, another label or an empty document.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            cells = line.rstrip(b"\r\n").split(b"\t")
            rule = "fetch the file again"
            if len(cells) != COLUMNS:
                raise DataError(f"{path}:{number} has {len(cells)} columns, but must have {COLUMNS}: {rule}")
            if cells[0] not in LABELS:
                label = cells[0][:20].decode("utf-8", "replace")
                raise DataError(f"{path}:{number} has the label {label!r}, but must have 0 or 1: {rule}")
            if not cells[3] or not cells[4]:
                raise DataError(f"{path}:{number} has an empty document, but needs two: {rule}")
            yield LABELS[cells[0]], cells[3], cells[4]
