"""ListOps that others made, read from their files: Long-Range Arena's own, or those of Nangia and Bowman.

Long-Range Arena: basic_{train,val,test}.tsv, a header, then EXPRESSION<tab>LABEL. Nangia and Bowman: train_*.tsv and
test_*.tsv, LABEL<tab>EXPRESSION. Every label is compared with the value of its expression.
"""

import logging
from pathlib import Path
from typing import Dict, List, Tuple, Union

from leap_fairseq.files import DataError
from leap_fairseq.lra import LraFacts
from leap_fairseq.lra.data_set import REPORT, Writer, write_data_set
from leap_fairseq.lra.division import divide
from leap_fairseq.lra.listops import LABELS, write_lists
from leap_fairseq.lra.listops_grammar import CODES, END, VOCABULARY, ListExpression
from leap_fairseq.lra.listops_machine import evaluate, shortened, words_of
from leap_fairseq.prepare.sources import SourceFile, digest_of, files_of

logger = logging.getLogger(__name__)

PUBLISHED = {"basic_train": "train", "basic_val": "valid", "basic_test": "test"}
ORIGIN = "lra_release.gz of github.com/google-research/long-range-arena, or nyu-mll/spinn python/spinn/data/listops"

Lists = Dict[str, List[ListExpression]]
"""The lists of each split."""


def prep_listops_files(
    out: Union[str, Path],
    source: Union[str, Path],
    lengths: Tuple[int, int] = (0, 2000),
    valid: float = 0.1,
    test: float = 0.1,
    seed: int = 1,
) -> LraFacts:
    """Makes the data set, or finds it done; report.json there tells lengths, depths and labels.

    The arguments are the command's; lists of other lengths are left out.

    Raises:
        DataError: There are no such files, a line of one is wrong, or a split would have no list.
    """
    files = files_of(source, r"[^/]+\.tsv")
    if not files:
        raise DataError(f"{source} has no .tsv: give a folder with basic_train.tsv ... or test_d20s.tsv ... ({ORIGIN})")
    facts = LraFacts("listops", len(VOCABULARY), len(LABELS), lengths[1])
    options = {"source": digest_of(files), "lengths": list(lengths), "valid": valid, "test": test, "seed": seed}

    def make(writer: Writer) -> None:
        splits = _divided(_of_lengths(_by_name(files), lengths), (valid, test), seed)
        for split, lists in splits.items():
            if not lists:
                rule = f"longer than {lengths[0]} and shorter than {lengths[1]} tokens"
                raise DataError(f"{split} would have no list {rule}: give other --lengths, or hold out another share")
        write_lists(writer, splits)

    return write_data_set(out, facts, options, make, [REPORT])


def _of_lengths(splits: Lists, lengths: Tuple[int, int]) -> Lists:
    """The lists that have one of the lengths, each once."""
    seen = set()
    for split, lists in splits.items():
        kept = []
        for found in lists:
            if lengths[0] < len(found.tokens) < lengths[1] and found.tokens not in seen:
                kept.append(found)
                seen.add(found.tokens)
        rule = f"not between {lengths[0]} and {lengths[1]} tokens, or there twice"
        logger.info("%s: %d lists kept of %d; the others are %s", split, len(kept), len(lists), rule)
        splits[split] = kept
    return splits


def _by_name(files: List[SourceFile]) -> Lists:
    """The lists of each split that the names of files tell; those of Nangia and Bowman have no validation."""
    stems = {Path(file.name).stem: file for file in files}
    if set(PUBLISHED) & set(stems):
        missing = [name for name in PUBLISHED if name not in stems]
        if missing:
            raise DataError(f"{', '.join(missing)} is missing beside {', '.join(stems)}: unpack all of {ORIGIN}")
        return {split: read_lists(stems[name]) for name, split in PUBLISHED.items()}
    splits: Lists = {"train": [], "test": []}
    for file in files:
        splits["train" if Path(file.name).name.startswith("train") else "test"] += read_lists(file)
    # Without training files, the test files are all there is.
    return splits if splits["train"] else {"train": splits["test"]}


def _divided(splits: Lists, held_out: Tuple[float, float], seed: int) -> Lists:
    if "valid" in splits:
        return splits
    lists = splits["train"]
    fractions = held_out if "test" not in splits else held_out[:1]
    parts = [[lists[i] for i in part] for part in divide([found.label for found in lists], fractions, seed)]
    return dict(zip(("train", "valid", "test"), [*parts, splits["test"]] if "test" in splits else parts))


def read_lists(file: SourceFile) -> List[ListExpression]:
    """Reads one TSV, in either format, and checks its labels.

    Raises:
        DataError: A line that is not a label and an expression, or whose label is not the expression's value.
    """
    lines = file.content.decode("utf-8", errors="replace").splitlines()
    header = bool(lines) and lines[0].split("\t") == ["Source", "Target"]
    return [_read_line(line, f"{file.name}:{number + header + 1}") for number, line in enumerate(lines[header:])]


def _read_line(line: str, place: str) -> ListExpression:
    cells = line.split("\t")
    if len(cells) == 2 and cells[1].strip().isdecimal():
        cells.reverse()
    if len(cells) != 2 or not cells[0].strip().isdecimal():
        raise DataError(f"{place} is {shortened(line)}, but must be a label, a tab and an expression: fetch it again")
    label, text = int(cells[0]), cells[1]
    try:
        value = evaluate(text)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    if value != label:
        raise DataError(f"{place} has the label {label}, but the value of its expression is {value}: fetch it again")
    tokens = bytes(CODES[word] for word in words_of(text))
    return ListExpression(tokens, label, _depth(tokens))


def _depth(tokens: bytes) -> int:
    depth = deepest = 0
    for token in tokens:
        depth += (token > END) - (token == END)
        deepest = max(deepest, depth)
    return deepest
