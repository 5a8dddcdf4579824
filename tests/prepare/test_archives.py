"""Archives of strangers: what is read of them has a bound, and what is no plain member is refused by name."""

import io
import os
import stat
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from leap_fairseq.files import DataError
from leap_fairseq.prepare import archives
from leap_fairseq.prepare.sources import files_of
from leap_fairseq.prepare.wikitext_text import LONGEST_LINE, TextFile, find_texts

PATTERN = r"pos/[^/]+\.txt"


def write_zip(path, name="pos/a.txt", content=b"good", change=lambda info: None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
        change(info)  # what the directory says, which is written at the end
        archive.writestr("pos/z.txt", "behind")
    return path


def write_tar(path, name="pos/a.txt", content=b"good", mode="w:gz", **facts):
    with tarfile.open(path, mode) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for fact, value in facts.items():
            setattr(info, fact, value)
        if info.size > len(content):
            archive.fileobj.write(info.tobuf())
            return path
        archive.addfile(info, io.BytesIO(content))
        info = tarfile.TarInfo("pos/z.txt")
        info.size = 6
        archive.addfile(info, io.BytesIO(b"behind"))
    return path


def setter(**facts):
    return lambda info: [setattr(info, name, value) for name, value in facts.items()]


LINK = (stat.S_IFLNK | 0o777) << 16
DEVICE = (stat.S_IFCHR | 0o666) << 16
BAD_ZIPS = {
    "absolute": (dict(name="/pos/a.txt"), "'/pos/a.txt' has a path that leads out"),
    "upwards": (dict(name="x/../../pos/a.txt"), "leads out of the archive"),
    "backslashes": (dict(name="..\\/pos/a.txt"), "leads out of the archive"),
    "encrypted": (dict(change=setter(flag_bits=1)), "'pos/a.txt' is encrypted"),
    "method": (dict(change=setter(compress_type=97)), "compressed by the unknown method 97"),
    "link": (dict(content=b"/etc/passwd", change=setter(external_attr=LINK)), "is a link or a device"),
    "device": (dict(change=setter(external_attr=DEVICE)), "is a link or a device"),
    "grows": (dict(content=bytes(3 * 2**20)), "grows the archive to 3,145,728 bytes, and at most 2,097,152"),
    "says it grows": (dict(change=setter(file_size=2**40)), "grows the archive to 1,099,511,627,776 bytes"),
}
BAD_TARS = {
    "absolute": (dict(name="/pos/a.txt"), "'/pos/a.txt' has a path that leads out"),
    "upwards": (dict(name="../pos/a.txt"), "leads out of the archive"),
    "symlink": (dict(type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0), "'pos/a.txt' is a link, a device"),
    "hard link": (dict(type=tarfile.LNKTYPE, linkname="pos/z.txt", size=0), "is a link, a device"),
    "device": (dict(type=tarfile.CHRTYPE, size=0), "is a link, a device"),
    "pipe": (dict(type=tarfile.FIFOTYPE, size=0), "is a link, a device"),
    "grows": (dict(content=bytes(3 * 2**20)), "grows the archive to 3,14"),
    "grows unread": (dict(name="x", content=bytes(3 * 2**20)), "'x' grows the archive to 3,14"),
    "says it grows": (dict(size=2**40), "grows the archive to 1,099,511,62"),
    "long name": (dict(name="pos/" + "n" * (3 * 2**20)), "grows the archive to 3,14"),
}


@pytest.fixture(autouse=True)
def small_bound(monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 2 * 2**20)


@pytest.mark.parametrize("kind", BAD_ZIPS)
def test_bad_zips_are_refused_by_name(tmp_path, kind):
    facts, words = BAD_ZIPS[kind]
    write_zip(tmp_path / "bad.zip", **facts)
    with pytest.raises(DataError, match=f"bad.zip.*{words}.*unpack it yourself and give the folder"):
        files_of(tmp_path / "bad.zip", PATTERN)


@pytest.mark.parametrize("kind", BAD_TARS)
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_bad_tars_are_refused_by_name(tmp_path, kind, mode):
    facts, words = BAD_TARS[kind]
    write_tar(tmp_path / "bad.tar", mode=mode, **facts)
    with pytest.raises(DataError, match=f"bad.tar.*(?:{words})"):
        files_of(tmp_path / "bad.tar", PATTERN)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_control_good_archives_are_read(tmp_path, mode):
    for path in (write_zip(tmp_path / "x.zip"), write_tar(tmp_path / "x.tar", mode=mode)):
        assert [file.content for file in files_of(path, PATTERN)] == [b"good", b"behind"]
    # What is not read may be anything but large.
    write_tar(tmp_path / "y.tar", name="x", type=tarfile.SYMTYPE, linkname="/etc/passwd", content=b"")
    assert len(files_of(tmp_path / "y.tar", PATTERN)) == 1


def test_a_sparse_member_is_refused(tmp_path):
    path = write_tar(tmp_path / "x.tar", mode="w")
    block = bytearray(path.read_bytes())
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[483:495] = b"%011o\0" % 2**30  # the size it would grow to
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block[:512]))[0]
    path.write_bytes(block)
    with pytest.raises(DataError, match="'pos/a.txt' is a link, a device or a sparse file"):
        files_of(path, PATTERN)


def test_a_tar_that_breaks_off_between_members_is_noticed(tmp_path):
    path = write_tar(tmp_path / "x.tar", mode="w")
    whole = path.read_bytes()
    for broken in (whole[:1024], whole[:1024] + b"junk" * 128 + whole[1536:]):
        path.write_bytes(broken)
        with tarfile.open(path) as archive:
            assert archive.getnames() == ["pos/a.txt"]  # the control: Python takes it for whole
        with pytest.raises(DataError, match="x.tar breaks off, or is damaged, behind pos/a.txt: fetch it again"):
            files_of(path, PATTERN)


@pytest.mark.timeout(60)  # who opens a pipe to which nobody writes waits for ever
@pytest.mark.parametrize("kind", ["outside", "pipe", "dead"])
def test_links_out_of_a_folder_and_pipes_are_refused(tmp_path, kind):
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "data" / "pos"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("own")
    (folder / "valid.txt").symlink_to("train.txt")
    assert len(files_of(folder.parent, PATTERN)) == 2
    assert sorted(find_texts([folder])) == ["train", "valid"]
    bad = folder / "test.txt"
    os.mkfifo(bad) if kind == "pipe" else bad.symlink_to("../../secret.txt" if kind == "outside" else "nowhere")
    rule = "is a link out of" if kind == "outside" else "is a pipe, a device or a dead link"
    for read in (lambda: files_of(folder.parent, PATTERN), lambda: find_texts([folder])):
        with pytest.raises(DataError, match=f"test.txt {rule}"):
            read()


def test_wikitext_members_are_checked_too(tmp_path):
    for kind in ("encrypted", "method", "link", "grows", "says it grows"):
        facts, words = BAD_ZIPS[kind]
        write_zip(tmp_path / "bad.zip", **{**facts, "name": "wiki.train.tokens"})
        words = words.replace("pos/a.txt", "wiki.train.tokens")
        with pytest.raises(DataError, match=f"bad.zip: the member '?.*{words}"):
            find_texts([tmp_path / "bad.zip"])
    path = write_zip(tmp_path / "x.zip", name="wiki.train.tokens", content=b" a b \n\n c")
    assert list(find_texts([path])["train"][0].lines()) == [" a b \n", "\n", " c"]


def test_a_text_without_lines_does_not_fill_the_memory(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"a" * (LONGEST_LINE + 1))
    with pytest.raises(DataError, match="x.txt .*has a line of more than 16,777,216 characters"):
        list(TextFile(tmp_path / "x.txt").lines())
    (tmp_path / "x.txt").write_bytes(b"a" * (LONGEST_LINE - 1) + b"\nb")
    assert [len(line) for line in TextFile(tmp_path / "x.txt").lines()] == [LONGEST_LINE, 1]


@pytest.mark.parametrize("write", [write_zip, write_tar, lambda path: write_tar(path, mode="w")])
def test_mutated_archives_are_read_or_refused(tmp_path, write):
    rng, path, refused = np.random.default_rng(0), tmp_path / "fuzz", 0
    whole = write(path).read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(0, len(data))] = rng.integers(0, 256)
        if rng.random() < 0.2:
            del data[rng.integers(0, len(data)) :]
        if rng.random() < 0.2:
            place = rng.integers(0, len(data))
            data[place : place + 4] = struct.pack("<I", 2**32 - 1)
        path.write_bytes(data)
        try:
            files_of(path, PATTERN)
        except DataError as error:
            assert "fuzz" in str(error)
            refused += 1
    assert 20 < refused <= 150
