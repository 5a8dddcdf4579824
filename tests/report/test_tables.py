"""Tables that survive writing and reading, and are aligned for a terminal."""

import json
import math

import pytest

from leap_fairseq.report.tables import format_table, read_tsv, write_json, write_tsv

ROWS = [
    {"attention": "leap", "waitk": 3, "BLEU": 61.512345, "LAAL": 912.0, "AP": 0.71234, "signature": "BLEU|tok:13a"},
    {"attention": "softmax", "waitk": 12, "BLEU": 0.0, "LAAL": math.nan, "AP": 1.0, "signature": "BLEU|tok:13a"},
]


def test_what_is_written_is_read(tmp_path):
    # A measurement of hours must not be lost because nobody has made the folder of its table.
    folder = tmp_path / "new"
    write_tsv(ROWS, folder / "out.tsv")
    again = read_tsv(folder / "out.tsv")
    assert again[0] == ROWS[0] and math.isnan(again[1]["LAAL"]) and again[1]["waitk"] == 12
    write_json(ROWS, folder / "out.json")
    assert json.loads((folder / "out.json").read_text())[1]["LAAL"] is None


def test_text_is_aligned_and_rounded():
    lines = format_table(ROWS).splitlines()
    assert len(lines) == 3 and len(set(map(len, lines))) == 1 and "signature" not in lines[0]
    assert lines[1].split() == ["leap", "3", "61.51", "912.0", "0.712"]


@pytest.mark.parametrize("content, named", [(b"a\tb\n1\n", "line 2"), (b"", "no table"), (b"\xff\xfe", "no table")])
def test_broken_tables_are_named(tmp_path, content, named):
    (tmp_path / "broken.tsv").write_bytes(content)
    with pytest.raises(ValueError, match=f"broken.tsv.*{named}"):
        read_tsv(tmp_path / "broken.tsv")
