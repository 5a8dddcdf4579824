"""The table of the sentences of long recordings: what is read, and how each thing that is wrong is named."""

import pytest

from leap_fairseq.scoring.long_references import ReferenceSentence, read_references

HEADER = "audio\toffset_ms\tduration_ms\tsource\ttarget"


@pytest.fixture
def table(tmp_path):
    def write(*lines, header=HEADER):
        path = tmp_path / "long.tsv"
        path.write_text("".join(line + "\n" for line in (header, *lines)), encoding="utf-8")
        return path

    return write


def test_what_is_read(table):
    path = table('x\ta.wav\t1.5\t2\tOne\tEins "zwei"', "\tb.wav\t0\t0\t\t", header="note\t" + HEADER)
    expected = [
        [ReferenceSentence("a.wav", 1.5, 2.0, "One", 'Eins "zwei"')],
        [ReferenceSentence("b.wav", 0, 0, "", "")],
    ]
    assert read_references(path) == expected
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_references(path) == expected


@pytest.mark.parametrize(
    "lines, rule",
    [
        ("", "holds no sentence"),
        ("a\t0\t1\tx", "line 2 has 4 columns, the header 5"),
        ("a\tsoon\t1\tx\ty", "line 2: offset_ms is 'soon'"),
        ("a\t0\tnan\tx\ty", "line 2: duration_ms is 'nan', but must be a number of milliseconds, 0 or more"),
        ("a\t-1\t1\tx\ty", "line 2: offset_ms is '-1'"),
        ("a\t5\t1\tx\ty\na\t4\t1\tx\ty", "line 3: begins at 4.0 ms, but the line before at 5.0 ms"),
        ("a\t0\t1\tx\ty\nb\t0\t1\tx\ty\na\t4\t1\tx\ty", "line 4: a occurs again behind other recordings"),
    ],
)
def test_wrong_lines_are_named(table, lines, rule):
    with pytest.raises(ValueError, match=rule):
        read_references(table(lines))


def test_wrong_files_are_named(table, tmp_path):
    with pytest.raises(ValueError, match="lacks offset_ms, duration_ms: .* audio, offset_ms"):
        read_references(table(header=HEADER.replace("_ms", "")))
    path = table()
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="lacks audio"):
        read_references(path)
    path.write_bytes(HEADER.encode() + b"\na\t0\t1\t\xff\tx\n")
    with pytest.raises(ValueError, match="must be UTF-8"):
        read_references(path)
    with pytest.raises(FileNotFoundError):
        read_references(tmp_path / "gone.tsv")
