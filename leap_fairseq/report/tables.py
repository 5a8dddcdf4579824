"""Tables of results: TSV with unrounded numbers, JSON, and aligned text for a terminal."""

import json
import math
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Union

from leap_fairseq.files import whole_file

DECIMALS = {
    **dict.fromkeys(("BLEU", "chrF", "WER", "CER"), 2),
    "COMET": 4,
    **dict.fromkeys(("AP", "AP_CA", "LongAP", "LongAP_CA", "RTF", "RTF_CA", "loss", "loss_sd", "best", "last"), 3),
    "hours": 2,
}
"""Digits after the point in text; 1 for everything else that is no whole number."""

UNDEFINED = "-"
"""In place of nan, as the latency of a run that wrote nothing."""


def write_tsv(rows: Sequence[Mapping[str, Any]], path: Union[str, Path]) -> None:
    """Writes rows with the same keys as a table with a header; numbers unrounded, nan as `UNDEFINED`."""
    lines = ["\t".join(rows[0])] + ["\t".join(map(_plain, row.values())) for row in rows]
    with whole_file(path, text=True) as file:
        file.write("\n".join(lines) + "\n")


def read_tsv(path: Union[str, Path]) -> List[Dict[str, Union[str, int, float]]]:
    """Reads what `write_tsv` wrote; what looks like a number becomes one, `UNDEFINED` nan.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, has no header, or a line with another number of columns than that.
    """
    try:
        header, *lines = Path(path).read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        rule = "it must be UTF-8, with the names of its columns in the first line"
        raise ValueError(f"{path} is no table: {rule} ({error})") from error
    names = header.split("\t")
    rows = []
    for number, line in enumerate(lines, start=2):
        values = line.split("\t")
        if len(values) != len(names):
            raise ValueError(f"{path}: line {number} has {len(values)} columns, the header {len(names)}")
        rows.append({name: _number(value) for name, value in zip(names, values)})
    return rows


def write_json(rows: Sequence[Mapping[str, Any]], path: Union[str, Path]) -> None:
    """Writes rows as a JSON list of objects; nan, which JSON lacks, becomes null."""
    plain = [{key: None if value != value else value for key, value in row.items()} for row in rows]
    with whole_file(path, text=True) as file:
        file.write(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")


def format_table(rows: Sequence[Mapping[str, Any]], leave_out: Sequence[str] = ("signature",)) -> str:
    """Rows as aligned text for a terminal, rounded."""
    names = [name for name in rows[0] if name not in leave_out]
    cells = [names] + [[_rounded(name, row[name]) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths)) for line in cells)


def _rounded(name: str, value: object) -> str:
    is_number = isinstance(value, float) and not math.isnan(value)
    return f"{value:.{DECIMALS.get(name, 1)}f}" if is_number else _plain(value)


def _plain(value: object) -> str:
    return UNDEFINED if isinstance(value, float) and math.isnan(value) else str(value)


def _number(text: str) -> Union[str, int, float]:
    if text == UNDEFINED:
        return math.nan
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
