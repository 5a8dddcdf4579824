"""Reading CoVoST 2: every text byte for byte, the published TSVs joined, and what is wrong named."""

import re

import pytest
from fake_corpora import covost_rows, write_clip, write_covost, write_tsv

from leap_fairseq.speech import DataError
from leap_fairseq.speech.covost import REQUIRED_SPLITS, SPLIT_COLUMNS, SPLITS, read_corpus, read_tsv


@pytest.fixture
def copy(tmp_path):
    """A corpus that may be changed."""
    return write_covost(tmp_path / "cv")


def test_published_tsv_of_another_common_voice(tmp_path, caplog):
    root = write_covost(tmp_path, published=True)
    lines = (root / "en" / "validated.tsv").read_bytes().split(b"\n")
    (root / "en" / "validated.tsv").write_bytes(b"\n".join(lines[:3] + lines[5:]))
    read = read_corpus(root, "en", "de")
    assert [len(read[split]) for split in SPLITS] == [3, 5, 5]
    assert "13 of 15 translated clips" in caplog.text and "Common Voice 4" in caplog.text


def test_odd_characters_do_not_shift_columns_or_lines(tmp_path):
    texts = ['"', " leading and trailing ", "\u2028", "a\x0bb\x0cc\x85", "\\t\\n\\\\", "", "'#;,"]
    table = [(f"{index}.mp3", text, text[::-1], "c") for index, text in enumerate(texts)]
    write_tsv(tmp_path / "x.tsv", SPLIT_COLUMNS, table)
    assert [row for _, row in read_tsv(tmp_path / "x.tsv", SPLIT_COLUMNS, [])] == table
    # As a spreadsheet program saves it: a byte order mark, and columns in another order.
    reordered = [(row[3], row[1], row[0], row[2]) for row in table]
    write_tsv(tmp_path / "y.tsv", ("\ufeffclient_id", "sentence", "path", "translation"), reordered, "\r\n")
    assert [row for _, row in read_tsv(tmp_path / "y.tsv", SPLIT_COLUMNS, [])] == table


@pytest.mark.parametrize(
    "change, rule",
    [
        (
            lambda table: table.replace(b"client_id", b"speaker"),
            "client_id is not in: path, sentence, translation, spe",
        ),
        (lambda table: table.replace(b"Guten", b"\xff"), "UTF-8 TSV"),
        (lambda table: b"", "must name path, sentence, translation, client_id"),
    ],
)
def test_malformed_tsv(copy, change, rule):
    path = copy / "en" / "covost_v2.en_de.dev.tsv"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=rule) as error:
        read_corpus(copy, "en", "de", required=REQUIRED_SPLITS)
    assert "covost_v2.en_de.dev.tsv" in str(error.value)


@pytest.mark.parametrize(
    "change, place, rule",
    [
        (lambda table: table + b"x.mp3\tno translation\n", 7, "of .* has 2 fields between tabs, but the first line 4"),
        (lambda table: table.replace(b"dev_1", b"dev_0"), 3, "'common_voice_dev_0.mp3' must name each clip once"),
        (lambda table: table.replace(b"common_voice_dev_2.mp3", b""), 4, "path '' must name each clip once"),
        (lambda table: table.replace(b"common_voice_dev_2", b"../../secret"), 4, "secret.mp3' is not inside of clips"),
        (lambda table: table.replace(b"common_voice_dev_2", b"/etc/x"), 4, "'/etc/x.mp3' is not inside of clips"),
        (lambda table: table.replace(b"common_voice_dev_2", b"a" * 300), 4, "must have a name"),
    ],
)
def test_a_line_that_cannot_be_used_is_skipped(copy, change, place, rule):
    path = copy / "en" / "covost_v2.en_de.dev.tsv"
    path.write_bytes(change(path.read_bytes()))
    read = read_corpus(copy, "en", "de", required=REQUIRED_SPLITS)
    (faulty,) = [segment for segment in read["dev"] if segment.fault]
    assert faulty.id == f"line {place}" and re.search(f"line {place} .*{rule}", faulty.fault)
    assert len(read["dev"]) == 5 + (place == 7) and not any(segment.fault for segment in read["train"])


def test_lines_of_the_published_table_that_cannot_be_used(tmp_path, caplog):
    root = write_covost(tmp_path, published=True)
    for name in ("covost_v2.en_de.tsv", "validated.tsv"):
        with open(root / "en" / name, "ab") as table:
            table.write(b"half a line\n")
    read = read_corpus(root, "en", "de")
    assert [len(read[split]) for split in SPLITS] == [5, 5, 5]
    assert caplog.text.count("skipped: line 17 of") == 2


def test_what_is_missing_is_named(copy, tmp_path):
    with pytest.raises(DataError, match="covost_v2.en_fr.train.tsv is neither in .*--tgt-lang"):
        read_corpus(copy, "en", "fr", required=REQUIRED_SPLITS)
    with pytest.raises(DataError, match="both en, but must differ"):
        read_corpus(copy, "en", "en")
    with pytest.raises(DataError, match="clips is neither in .* nor in .*Common Voice for fr .--src-lang"):
        read_corpus(copy, "fr", "en")
    published = write_covost(tmp_path / "published", splits=("train", "dev"), published=True)
    (published / "en" / "validated.tsv").unlink()
    with pytest.raises(DataError, match="validated.tsv is neither in"):
        read_corpus(published, "en", "de")


def test_paths_without_ending_are_mp3(tmp_path):
    write_clip(tmp_path / "clips" / "abc.mp3", 0.3, 0)
    write_tsv(tmp_path / "covost_v2.fr_en.dev.tsv", SPLIT_COLUMNS, [("abc", "oui", "yes", "c")])
    (segment,) = read_corpus(tmp_path, "fr", "en")["dev"]
    assert segment.audio == tmp_path / "clips" / "abc.mp3" and segment.id == "abc"


def test_escaped_quotes_are_kept_and_pointed_out(copy, caplog):
    path = copy / "en" / "covost_v2.en_de.dev.tsv"
    read_corpus(copy, "en", "de")
    assert "backslash before it" not in caplog.text  # control
    table = [(clip, *(text.replace('"', '\\"') for text in texts), client)
             for clip, *texts, client in covost_rows("dev")]  # fmt: skip
    write_tsv(path, SPLIT_COLUMNS, table)
    segments = read_corpus(copy, "en", "de")["dev"]
    assert segments[0].src_text == 'He said: \\"no\\" \\ yes.'
    assert "dev.tsv: each quote has a backslash before it" in caplog.text
