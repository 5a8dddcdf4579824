"""From WikiText-103 in any form to fairseq's data set: right, refused where wrong, whole, and always the same bytes."""

import csv
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fairseq.data import Dictionary, data_utils, indexed_dataset

from leap_fairseq.cli import command
from leap_fairseq.files import DataError, file_digest
from leap_fairseq.prepare import wikitext
from leap_fairseq.prepare.wikitext import format_counts, prep_wikitext
from leap_fairseq.prepare.wikitext_text import ADDRESSES, PUBLISHED, Counts, check_official, find_texts

COMMAND = [sys.executable, Path(__file__).parents[2] / "data_prep/prep_wikitext.py"]
WIKITEXT = Path(__file__).parents[2] / ".." / "shared" / "data" / "wikitext"
needs_wikitext = pytest.mark.skipif(not WIKITEXT.is_dir(), reason="no ../shared/data/wikitext")
OFFICIAL = [WIKITEXT / f"wikitext-103-v1.{split}.csv" for split in ("valid", "test")]


def make_line(chance):
    words = ["the", "a", "@-@", "<unk>", "tree", '"', ",", "’s", "naïve", "a\u2028b"]
    return " ".join(chance.choices(words, k=chance.randrange(9)))


def make_corpus(folder, train=300, valid=40, test=50):
    """As distributed: every line begins and ends with a space, and an empty one is a space."""
    chance = random.Random(1)
    folder.mkdir()
    for split, count in (("train", train), ("valid", valid), ("test", test)):
        text = "".join(f" {line} \n" if line else " \n" for line in (make_line(chance) for _ in range(count)))
        (folder / f"wiki.{split}.tokens").write_text(text, encoding="utf-8", newline="\n")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("wikitext") / "corpus")


@pytest.fixture(scope="module")
def prepared(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "data"
    prep_wikitext([corpus], out=out, any_text=True)
    return out


@pytest.fixture
def data_set(hashes):
    """A function: the hashes of the visible files, which do not depend on the form of the corpus."""
    return lambda out: {name: value for name, value in hashes(out).items() if not name.startswith(".")}


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory):
    path = tmp_path_factory.mktemp("dictionary") / "dict.txt"
    path.write_text("the 9\nof 7\n")
    return path


def words_of(path):
    return [line.split() for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_data_set_is_the_text(prepared, corpus):
    names = {path.name for path in prepared.iterdir() if not path.name.startswith(".")}
    splits = ("train", "valid", "test")
    assert names == {"dict.txt", *(f"{split}.{ending}" for split in splits for ending in ("bin", "idx"))}
    dictionary = Dictionary.load(str(prepared / "dict.txt"))
    for split in splits:
        data = data_utils.load_indexed_dataset(str(prepared / split), dictionary)
        lines = [[dictionary[index] for index in data[i].tolist()] for i in range(len(data))]
        assert lines == [words + ["</s>"] for words in words_of(corpus / f"wiki.{split}.tokens")]
        assert any(len(line) == 1 for line in lines) and any("<unk>" in line for line in lines)


def test_counts_include_ends_of_lines(corpus, tmp_path):
    counts = prep_wikitext([corpus], out=tmp_path / "data", any_text=True)
    for split, count in counts.items():
        lines = words_of(corpus / f"wiki.{split}.tokens")
        assert count.lines == len(lines) and count.tokens == sum(map(len, lines)) + len(lines)
        assert count.unknown == sum(words.count("<unk>") for words in lines)


@pytest.mark.parametrize("options", [{}, {"threshold": 2}, {"nwords": 7}, {"srcdict": "dict.txt"}], ids=str)
def test_unknown_words_are_the_dictionarys(tmp_path, options):
    """Also a word that the train text has not, or not often enough."""
    texts = {"train": "a a a b b <unk> c\n", "valid": "a b c d\n\n", "test": "d d <unk>\n"}
    for split, text in texts.items():
        (tmp_path / f"{split}.txt").write_text(text)
    (tmp_path / "dict.txt").write_text("b 3\nd 1\n")
    options = {name: tmp_path / value if name == "srcdict" else value for name, value in options.items()}
    counts = prep_wikitext([tmp_path], out=tmp_path / "data", any_text=True, **options)
    known = Dictionary.load(str(tmp_path / "data/dict.txt"))
    words = {split: text.split() for split, text in texts.items()}
    expected = {split: sum(known.index(word) == known.unk() for word in words[split]) for split in words}
    assert {split: count.unknown for split, count in counts.items()} == expected
    assert len(set(expected.values())) > 1 and expected["test"] >= 1
    assert prep_wikitext([tmp_path], out=tmp_path / "data", any_text=True, **options) == counts
    share = expected["valid"] / 6
    assert format_counts(counts, any_text=True).splitlines()[2].split()[-2:] == [str(expected["valid"]), f"{share:.2%}"]


def as_cells(corpus, split):
    """What the loader of a hub makes of the lines."""
    lines = (corpus / f"wiki.{split}.tokens").read_text(encoding="utf-8").split("\n")[:-1]
    return [f"{line}\n" if line.strip() else "" for line in lines]


def write_csv(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)


def zipped(corpus, folder):
    with zipfile.ZipFile(folder / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in corpus.iterdir():
            archive.write(path, f"wikitext-103/{path.name}")
            archive.writestr(f"__MACOSX/wikitext-103/._{path.name}", b"\0junk")
    return [folder / "c.zip"]


def parent_folder(corpus, folder):
    shutil.copytree(corpus, folder / "wikitext-103")
    return [folder]


def plain_csv(corpus, folder):
    for split, name in (("train", "train"), ("valid", "validation"), ("test", "test")):
        write_csv(folder / f"{name}.csv", [[cell] for cell in as_cells(corpus, split)])
    return [folder]


def csv_with_header_index_and_shards(corpus, folder):
    for split in ("train", "valid", "test"):
        rows = [[i, cell] for i, cell in enumerate(as_cells(corpus, split))]
        half = len(rows) // 2
        for number, part in enumerate((rows[:half], rows[half:])):
            write_csv(folder / f"{split}-0000{number}-of-00002.csv", [["", "text"], *part])
    return [folder]


def dos_text(corpus, folder):
    for path in corpus.iterdir():
        text = "\ufeff" + path.read_text(encoding="utf-8")
        (folder / f"{path.name}.txt").write_text(text, encoding="utf-8", newline="\r\n")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("form", [zipped, parent_folder, plain_csv, csv_with_header_index_and_shards, dos_text])
def test_every_form_of_the_corpus_gives_the_same_bytes(prepared, corpus, tmp_path, data_set, form):
    (tmp_path / "in").mkdir()
    prep_wikitext(form(corpus, tmp_path / "in"), out=tmp_path / "data", any_text=True)
    assert data_set(tmp_path / "data") == data_set(prepared)


def test_bytes_are_the_same_with_two_processes(prepared, corpus, tmp_path, hashes):
    prep_wikitext([corpus], out=tmp_path / "data", any_text=True, processes=2)
    assert hashes(tmp_path / "data") == hashes(prepared)


def test_second_run_reuses_and_changes_redo(corpus, tmp_path, caplog, data_set):
    caplog.set_level("INFO")
    out, source = tmp_path / "data", shutil.copytree(corpus, tmp_path / "in")

    def run(**options):
        before = {path: path.stat().st_mtime_ns for path in out.glob("*.bin")}
        prep_wikitext([source], out=out, any_text=True, **options)
        return before != {path: path.stat().st_mtime_ns for path in out.glob("*.bin")}

    assert run() and not run() and not run(processes=2) and "reusing" in caplog.text
    assert run(nwords=8) and len(Dictionary.load(str(out / "dict.txt"))) == 8
    assert run() and not run()
    (source / "wiki.test.tokens").write_text("other words\n")
    assert run() and not run()
    (out / "valid.bin").write_bytes(b"damaged")
    assert run() and (out / "valid.bin").read_bytes() != b"damaged"
    (source / "wiki.test.tokens").unlink()
    assert run() and not (out / "test.bin").exists() and not (out / "test.idx").exists()
    assert not list(out.glob(".prep_wikitext/build-*"))


def test_killed_run_is_completed_by_the_next(corpus, prepared, tmp_path, hashes, monkeypatch):
    """SIGKILL while fairseq writes; the rerun gives the bytes of an undisturbed run."""
    out, lines, add = tmp_path / "data", iter(range(100)), indexed_dataset.MMapIndexedDatasetBuilder.add_item

    def add_some(builder, tensor):
        if next(lines, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        add(builder, tensor)

    with monkeypatch.context() as patch:
        patch.setattr(indexed_dataset.MMapIndexedDatasetBuilder, "add_item", add_some)
        options = {"out": out, "any_text": True}
        process = multiprocessing.get_context("fork").Process(target=prep_wikitext, args=([corpus],), kwargs=options)
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in out.iterdir()] == [".prep_wikitext"]
    assert list(out.glob(".prep_wikitext/build-*/train.bin"))
    prep_wikitext([corpus], out=out, any_text=True)
    assert hashes(out) == hashes(prepared)


@pytest.mark.parametrize("moves", range(7))
def test_interrupted_while_files_are_put_in_place(corpus, prepared, tmp_path, hashes, monkeypatch, moves):
    """Over an older data set, too: without dict.txt fairseq takes no mixture for a data set."""
    out, left, replace = tmp_path / "data", [moves], os.replace
    prep_wikitext([corpus], out=out, any_text=True, nwords=8)

    def failing(source, target):
        if "build-" in str(source):
            left[0] -= 1
            if left[0] < 0:
                raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="disk full"):
        prep_wikitext([corpus], out=out, any_text=True)
    assert not (out / "dict.txt").exists()
    monkeypatch.undo()
    prep_wikitext([corpus], out=out, any_text=True)
    assert hashes(out) == hashes(prepared)


def test_failure_in_the_middle_leaves_the_older_data_set(corpus, tmp_path, monkeypatch, data_set):
    out = tmp_path / "data"
    prep_wikitext([corpus], out=out, any_text=True, nwords=8)
    before = data_set(out)
    with monkeypatch.context() as patch:
        patch.setattr(wikitext, "binarise", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prep_wikitext([corpus], out=out, any_text=True)
    assert data_set(out) == before and not list(out.glob(".prep_wikitext/build-*"))


@needs_wikitext
def test_official_texts_have_exactly_the_published_counts(dictionary, tmp_path, capsys, caplog):
    words = [*OFFICIAL, "--srcdict", dictionary, "--out", tmp_path / "data"]
    assert command.main(wikitext, list(map(str, words))) == 0
    rows = [line.split()[:4] for line in capsys.readouterr().out.splitlines()]
    assert rows[1:] == [["valid", "217,646", "217,646", "3,760"], ["test", "245,569", "245,569", "4,358"]]
    assert "train is missing" in caplog.text
    valid = data_utils.load_indexed_dataset(str(tmp_path / "data" / "valid"), None)
    assert sum(len(valid[i]) for i in range(len(valid))) == 217_646


@needs_wikitext
def test_real_raw_text_is_refused_by_name_and_by_content(dictionary, tmp_path):
    raw = WIKITEXT / "wikitext-2-raw.train.first1M.txt"
    with pytest.raises(
        DataError, match="raw.train.first1M.txt: .*raw variant by its name.*wikitext-103-v1.*--any-text"
    ):
        prep_wikitext([raw, *OFFICIAL], out=tmp_path / "data")
    shutil.copy(raw, tmp_path / "wiki.train.tokens")
    with pytest.raises(DataError, match="train is the raw variant.*no <unk> in it.*--any-text"):
        prep_wikitext([tmp_path / "wiki.train.tokens", *OFFICIAL], out=tmp_path / "data")
    assert not list((tmp_path / "data").glob("*.bin"))
    shakespeare = dict(test=WIKITEXT / "tinyshakespeare.input.txt", srcdict=dictionary)
    with pytest.raises(DataError, match="recognised by neither <unk> nor @-@"):
        prep_wikitext(out=tmp_path / "data", **shakespeare)
    assert prep_wikitext(out=tmp_path / "data", any_text=True, **shakespeare)["test"].lines == 40_000


@needs_wikitext
@pytest.mark.parametrize("split", ["valid", "test"])
def test_wikitext_2_has_the_same_counts_and_is_refused(dictionary, tmp_path, split):
    with pytest.raises(DataError, match=f"{split} looks like WikiText-2"):
        prep_wikitext([WIKITEXT / f"wikitext-2-v1.{split}.txt"], srcdict=dictionary, out=tmp_path / "data")


@pytest.mark.parametrize("split", PUBLISHED)
def test_other_counts_than_the_published_are_refused(split):
    tokens, lines = PUBLISHED[split]
    good = Counts(lines, tokens - lines, tokens // 100, 1)
    check_official(split, good)
    with pytest.raises(DataError, match=f"published: {tokens:,}.*cut or another"):
        check_official(split, good._replace(words=good.words - 1))
    for other in (lines - 9, 2 * lines):
        with pytest.raises(DataError, match="lost or doubled empty lines"):
            check_official(split, good._replace(lines=other))
    with pytest.raises(DataError, match="cut or another"):
        check_official(split, good._replace(words=good.words - 1, lines=lines + 1))


def test_own_training_text_beside_the_official_test(corpus, tmp_path):
    text = tmp_path / "anything.text"
    shutil.copy(corpus / "wiki.train.tokens", text)
    counts = prep_wikitext([corpus], train=text, out=tmp_path / "data", any_text=True)
    assert counts["train"].lines == 300
    table = format_counts({**counts, "test": Counts(4358, 241_211, 2492, 1)}, any_text=True).splitlines()
    assert table[1].split()[2] == "-" and table[3].split()[1:3] == ["245,569"] * 2


def test_missing_train_needs_a_dictionary(corpus, dictionary, tmp_path, caplog):
    files = [corpus / "wiki.valid.tokens", corpus / "wiki.test.tokens"]
    with pytest.raises(DataError, match="train is missing.*--srcdict dict.txt.*--train FILE.*--any-text"):
        prep_wikitext(files, out=tmp_path / "data", any_text=True)
    prep_wikitext(files, out=tmp_path / "data", any_text=True, srcdict=dictionary)
    assert "train is missing" in caplog.text
    assert (tmp_path / "data" / "dict.txt").read_text().startswith("the 9\nof 7\n")


@pytest.mark.parametrize("name", ["wiki.train.raw", "wikitext-103-raw-v1.train.csv"])
def test_raw_files_are_refused_by_name(corpus, tmp_path, name):
    shutil.copy(corpus / "wiki.train.tokens", tmp_path / name)
    with pytest.raises(DataError, match=f"{name}: this is the raw variant"):
        prep_wikitext([tmp_path], out=tmp_path / "data")


def test_raw_archive_is_refused_by_name(corpus, tmp_path):
    archive = zipped(corpus, tmp_path)[0].rename(tmp_path / "wikitext-103-raw-v1.zip")
    with pytest.raises(DataError, match="wikitext-103-raw-v1.zip: this is the raw variant"):
        prep_wikitext([archive], out=tmp_path / "data")


def test_a_folder_may_be_called_raw(corpus, tmp_path):
    folder = shutil.copytree(corpus, tmp_path / "raw")
    assert prep_wikitext([folder], out=tmp_path / "data", any_text=True)["train"].lines == 300
    assert set(find_texts([folder])) == {"train", "valid", "test"}


@pytest.mark.parametrize(
    "names, rule",
    [
        (["a.train.txt", "b.train.txt"], "train must be one file.*a.train.txt.*b.train.txt"),
        (["train-00000-of-00003.csv", "train-00002-of-00003.csv"], "all numbered shards"),
        (["train-00001-of-00002.csv"], "all numbered shards"),
        (["words.txt"], "no text was found.*wikitext-103-v1.zip.*--download"),
    ],
)
def test_files_that_leave_a_doubt(tmp_path, names, rule):
    for name in names:
        (tmp_path / name).write_text("a <unk>\n")
    with pytest.raises(DataError, match=rule):
        prep_wikitext([tmp_path], out=tmp_path / "data")


@pytest.mark.parametrize(
    "name, content, rule",
    [
        ("words.txt", b"a\n", "must hold train, valid or test.*--train"),
        ("train.parquet", b"PAR1", "end in .tokens, .txt, .csv"),
        ("train.txt", b"\xff\xfe\n", "UTF-8"),
        ("train.txt", b" \n\n", "train has no words"),
        ("train.csv", b"a , b\n", "row 1 of train.csv has 2 cells, but must have 1.*column `text`"),
        ("train.csv", b'"a\n', "cannot read"),
    ],
)
def test_malformed_files(tmp_path, name, content, rule):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rule):
        prep_wikitext([tmp_path / name], out=tmp_path / "data", any_text=True)


def test_a_cell_may_be_a_long_article(tmp_path):
    """Python's csv stops at 131,072 characters unless it is told otherwise."""
    limit, article = csv.field_size_limit(), "word " * 30_000 + "\nend"
    (tmp_path / "train.csv").write_text(f'text\n"{article}"\n', encoding="utf-8")
    (lines,) = (list(file.lines()) for file in find_texts([tmp_path])["train"])
    assert lines == article.split("\n") and csv.field_size_limit() == limit


def test_damaged_zip(corpus, tmp_path):
    archive = zipped(corpus, tmp_path)[0]
    content = bytearray(archive.read_bytes())
    content[120:140] = bytes(20)
    archive.write_bytes(content)
    with pytest.raises(DataError, match="cannot read"):
        prep_wikitext([archive], out=tmp_path / "data", any_text=True)


@pytest.mark.parametrize(
    "change, rule",
    [
        (dict(nwords=4, any_text=True), "--nwords is 4"),
        (dict(threshold=-1, any_text=True), "--threshold is -1"),
        (dict(nwords=100), "add --any-text"),
        (dict(threshold=3, any_text=True, srcdict="dict.txt"), "--srcdict takes one"),
        (dict(srcdict="missing.txt"), "--srcdict missing.txt"),
        (dict(processes=0), "-j"),
        (dict(sources=["missing"]), "missing does not exist"),
        (dict(train="missing.txt"), "missing.txt is no file"),
        (dict(sources=["a"], fetch=True), "leave out SOURCE"),
        (dict(url="https://example.org/a.zip"), "--url and --sha256"),
        (dict(sha256="0" * 64), "--url and --sha256"),
        (dict(url="https://example.org/a.zip", sha256="12"), "--sha256 is '12'"),
    ],
)
def test_wrong_options_are_refused(tmp_path, change, rule):
    with pytest.raises(DataError, match=rule):
        prep_wikitext(**{"out": tmp_path / "data", **change})


def test_download_without_network_names_the_local_way(tmp_path, monkeypatch):
    asked = []

    def no_network(request, timeout):
        asked.append(request.full_url)
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(DataError, match="no network.*get wikitext-103-v1.zip.*as SOURCE"):
        prep_wikitext(out=tmp_path / "data", fetch=True)
    assert asked == list(ADDRESSES)


def test_download_with_a_checksum(corpus, prepared, tmp_path, monkeypatch, data_set):
    archive, out = zipped(corpus, tmp_path)[0], tmp_path / "data"
    options = dict(url=archive.as_uri(), any_text=True, out=out)
    with pytest.raises(DataError, match=f"its sha256 is {file_digest(archive)}, but must be 0000"):
        prep_wikitext(sha256="0" * 64, **options)
    assert not [path for path in out.rglob("*") if path.is_file()]
    prep_wikitext(sha256=file_digest(archive).upper(), **options)
    assert data_set(out) == data_set(prepared)
    monkeypatch.setattr("urllib.request.urlopen", None)
    prep_wikitext(sha256=file_digest(archive), **options)


def test_fairseqs_log_file_is_closed(prepared):
    from fairseq_cli import preprocess

    assert not preprocess.logger.handlers
    assert set(json.loads((prepared / ".prep_wikitext" / "counts.json").read_text())) == {"train", "valid", "test"}


def test_user_error_is_one_line(tmp_path):
    words = [*COMMAND, "missing", "--out", "data"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "missing does not exist" in result.stderr.splitlines()[-1]
