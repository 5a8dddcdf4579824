"""The table of the sentences of long recordings: what is read, and how each thing that is wrong is named."""

import pytest

from leap_fairseq.scoring.long_references import ReferenceSentence, read_references, read_segments, write_without

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


def test_recordings_are_left_out_and_the_others_stay_as_they_are(tmp_path):
    path = tmp_path / "long.tsv"
    lines = (HEADER, "a.wav\t0\t1\tOne\rline\tEins", "b.wav\t0\t1\tTwo\tZwei", "c.wav\t0\t1\t\tDrei", "")
    path.write_bytes("\n".join(lines).encode())
    every = read_references(path)
    assert every[0][0].source == "One\rline"
    assert read_references(write_without(path, {1}, tmp_path / "kept.tsv")) == [every[0], every[2]]


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


class TestSegments:
    """A YAML of segments and a text, as MuST-C and IWSLT have them."""

    @pytest.fixture
    def files(self, tmp_path):
        def write(entries, text):
            paths = tmp_path / "tst.yaml", tmp_path / "tst.de"
            for path, content in zip(paths, (entries, text)):
                path.write_text(content, encoding="utf-8")
            return paths

        return write

    def test_what_is_read(self, files):
        entries = (
            "- {duration: 1.5, offset: 0.25, speaker_id: spk.1, wav: a.wav}\n- {duration: 2, offset: 3, wav: b.wav}\n"
        )
        assert read_segments(*files(entries, "Eins\nZwei\n")) == [
            [ReferenceSentence("a.wav", 250.0, 1500.0, "", "Eins")],
            [ReferenceSentence("b.wav", 3000.0, 2000.0, "", "Zwei")],
        ]

    @pytest.mark.parametrize(
        "entries, text, rule",
        [
            ("[]", "", "holds no segment"),
            ("[{wav: a, offset: 0, duration: 1}]", "x\ny\n", "has 1 segments, .* 2 lines: .*--reference-text"),
            ("[{wav: a, offset: 0}]", "x", "entry 1 lacks duration: it must have wav, offset, duration"),
            ("[3]", "x", "entry 1 lacks wav, offset, duration"),
            ("[{wav: [a], offset: 0, duration: 1}]", "x", "entry 1 lacks wav"),
            ("[{wav: a, offset: -1, duration: 1}]", "x", "entry 1: offset is '-1', but must be a number of seconds"),
            ("[{wav: a, offset: 0, duration: nan}]", "x", "entry 1: duration is 'nan'"),
            ("{wav: a}", "x", "must list one"),
            (
                "[{wav: a, offset: 2, duration: 1}, {wav: a, offset: 1, duration: 1}]",
                "x\ny",
                "entry 2: .*sort by their",
            ),
        ],
    )
    def test_wrong_ones_are_named(self, files, entries, text, rule):
        with pytest.raises(ValueError, match=rule):
            read_segments(*files(entries, text))

    def test_missing_files_are_named(self, files, tmp_path):
        yaml, text = files("[]", "")
        for paths in ((tmp_path / "gone.yaml", text), (yaml, tmp_path / "gone.de")):
            with pytest.raises(ValueError, match="cannot read .*gone"):
                read_segments(*paths)
