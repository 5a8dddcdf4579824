"""The text of WikiText-103 in the forms it is found in: names, reading, checks against published counts, download."""

import contextlib
import csv
import functools
import hashlib
import http.client
import io
import logging
import re
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Union

from leap_fairseq.files import DataError, file_digest, whole_file
from leap_fairseq.prepare.archives import MOST_BYTES, check_inside, errors_named, members

logger = logging.getLogger(__name__)

SPLITS = ("test", "valid", "train")  # The small ones first: a wrong corpus is refused before the large one is read.

PUBLISHED = {"train": (103_227_021, 1_801_350), "valid": (217_646, 3_760), "test": (245_569, 4_358)}
"""Tokens, one end-of-line token a line included, and lines. Source: Merity et al. 2016; torchtext."""

MAX_UNKNOWN = 0.02
"""Share of <unk> among the words: about 0.01 in WikiText-103, 0.06 in WikiText-2, whose valid and test texts have the
very same counts."""

ARCHIVE_SHA256 = "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590"
"""Of wikitext-103-v1.zip. Source: several independent public loaders of the corpus agree on it."""

ADDRESSES = (
    "https://wikitext.smerity.com/wikitext-103-v1.zip",
    "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-103-v1.zip",
)

LONGEST_LINE = 2**24
"""Characters, also of a cell; the longest of WikiText-103 has some ten thousand."""

SUFFIXES = (".tokens", ".txt", ".csv", ".raw")
SPLIT = re.compile(r"(?:^|[^a-z])(train|valid|validation|dev|test)(?:[^a-z]|$)")
RAW = re.compile(r"(?:^|[^a-z])raw(?:[^a-z]|$)")
SHARD = re.compile(r"-(\d+)-of-(\d+)\.")
LOCAL_REMEDY = "get wikitext-103-v1.zip, or wiki.{train,valid,test}.tokens, and give the path as SOURCE"


class Counts(NamedTuple):
    """What a split holds: lines, words, and how many of the words are <unk> and @-@.

    Those that are <unk>: in the text, and after `prep_wikitext` to the dictionary. Pieces: 0 where words are not cut.
    """

    lines: int
    words: int
    unknown: int
    hyphens: int
    pieces: int = 0

    @property
    def tokens(self) -> int:
        """Words and ends of lines, as fairseq counts."""
        return self.words + self.lines


class TextFile(NamedTuple):
    """A file on disk, or inside a zip."""

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    def lines(self) -> Iterator[str]:
        """The lines of the text; only a line feed ends a line.

        Raises:
            DataError: It is not UTF-8, a CSV of another form, or a damaged zip.
        """
        named = errors_named(self.path / self.member, "which must be UTF-8, whole", csv.Error)
        with named, contextlib.ExitStack() as stack:
            text = io.TextIOWrapper(stack.enter_context(self._open(stack)), encoding="utf-8-sig", newline="\n")
            lines = self._bounded(text)
            if self.name.endswith(".csv"):
                stack.callback(csv.field_size_limit, csv.field_size_limit(LONGEST_LINE))
                lines = _cells(lines, self.name)
            yield from lines

    def _open(self, stack: contextlib.ExitStack) -> IO[bytes]:
        if not self.member:
            return open(self.path, "rb")
        found = stack.enter_context(contextlib.closing(members(self.path, self.member.__eq__)))
        return next(found)[1]()

    def _bounded(self, text: io.TextIOWrapper) -> Iterator[str]:
        """The lines; what has none is no text, and would fill the memory."""
        for line in iter(lambda: text.readline(LONGEST_LINE), ""):
            if len(line) == LONGEST_LINE and line[-1] != "\n":
                rule = f"has a line of more than {LONGEST_LINE:,} characters"
                raise DataError(f"{self.path / self.member} {rule}: it must be a text of lines")
            yield line


def _cells(text: Iterable[str], name: str) -> Iterator[str]:
    column, width = 0, 1
    for number, row in enumerate(csv.reader(text, strict=True), 1):
        if number == 1 and "text" in row:
            column, width = row.index("text"), len(row)
            continue
        if len(row) not in (0, width):
            remedy = "export the column `text` alone, a quoted cell for each line"
            raise DataError(f"row {number} of {name} has {len(row)} cells, but must have {width}: {remedy}")
        # A hub keeps " words \n" in the cell of a line, and nothing at all in that of an empty one.
        cell = row[column] if row else ""
        yield from (cell[:-1] if cell.endswith("\n") else cell).split("\n")


def _split_of(name: str) -> Optional[str]:
    match = SPLIT.search(name.lower()) if name.endswith(SUFFIXES) else None
    return match and {"validation": "valid", "dev": "valid"}.get(match[1], match[1])


def _files_of(source: Path) -> List[TextFile]:
    if source.is_dir():
        here = [path for path in sorted(source.iterdir()) if _split_of(path.name)]
        files = [path for path in here or sorted(source.glob("*/*")) if _split_of(path.name) and not path.is_dir()]
        for path in files:
            check_inside(source, path)
        return [TextFile(path) for path in files]
    if not source.is_file():
        raise DataError(f"{source} does not exist: SOURCE must be a folder, a zip or text files")
    if zipfile.is_zipfile(source):
        with errors_named(source, "which must be a whole zip"):
            return [TextFile(source, name) for name, _ in members(source, lambda name: _split_of(Path(name).name))]
    if not _split_of(source.name):
        rule = f"its name must hold train, valid or test and end in {', '.join(SUFFIXES)}"
        raise DataError(f"{source}: {rule}; or give it with --train, --valid or --test")
    return [TextFile(source)]


def find_texts(sources: Sequence[Union[str, Path]]) -> Dict[str, List[TextFile]]:
    """Finds the splits by the names of the files.

    Args:
        sources: Folders (or the folder that holds the corpus's), zips and files.

    Returns:
        The files of each split that is there, in order; several only if they are numbered shards.

    Raises:
        DataError: A source is missing, says no split, or several files say the same one.
    """
    found: Dict[str, List[TextFile]] = {}
    for file in (file for source in sources for file in _files_of(Path(source))):
        split = _split_of(file.name)
        if split:
            found.setdefault(split, []).append(file)
    for split, files in found.items():
        files = [file for file in files if file.name == f"wiki.{split}.tokens"] or files
        found[split] = sorted(files, key=lambda file: file.name)
        shards = [SHARD.search(file.name) for file in found[split]]
        whole = all(shard and (int(shard[1]), int(shard[2])) == (i, len(shards)) for i, shard in enumerate(shards))
        if not whole and (len(files) > 1 or shards[0]):
            names = ", ".join(str(file.path / file.member) for file in found[split])
            raise DataError(f"{split} must be one file, or all numbered shards of one, but there are {names}")
    return found


def refuse_raw_name(file: TextFile) -> None:
    """Refuses a file of the raw variant, with a DataError, by its name."""
    for name in (file.name, file.path.name):
        if RAW.search(name.lower()):
            remedy = "take the word-level variant (wikitext-103-v1), or --any-text for another corpus"
            rule = "this is the raw variant by its name, whose perplexities mean another thing"
            raise DataError(f"{name}: {rule}: {remedy}")


def check_official(split: str, counts: Counts) -> None:
    """Refuses a split whose counts are not those of the word-level WikiText-103.

    Raises:
        DataError: The raw variant, WikiText-2, or other counts than the published ones.
    """
    tokens, lines = PUBLISHED[split]
    found = f"{split} has {counts.tokens:,} tokens in {counts.lines:,} lines (published: {tokens:,} in {lines:,})"
    remedy = "take wikitext-103-v1, or --any-text for another corpus"
    if not counts.unknown:
        sign = "no <unk>" if counts.hyphens else "neither <unk> nor @-@"
        raise DataError(f"{split} is the raw variant or another text, recognised by {sign} in it; {found}: {remedy}")
    if counts.unknown > MAX_UNKNOWN * counts.words:
        share = f"{counts.unknown / counts.words:.1%} of its words are <unk>, in WikiText-103 about 1%"
        raise DataError(f"{split} looks like WikiText-2: {share}; {found}: {remedy}")
    if counts.words == tokens - lines and counts.lines != lines:
        rule = "the words are all there, but an export lost or doubled empty lines; write each row as exactly one line"
        raise DataError(f"{found}: {rule}")
    if (counts.tokens, counts.lines) != (tokens, lines):
        raise DataError(f"{found}: the text is cut or another one; {remedy}")


def write_text(files: List[TextFile], path: Path) -> Counts:
    """Writes and counts words between single spaces, a line a line: the same from every form of the corpus."""
    lines = words = unknown = hyphens = 0
    with open(path, "w", encoding="utf-8", newline="\n") as text:
        for tokens in (line.split() for file in files for line in file.lines()):
            lines, words = lines + 1, words + len(tokens)
            unknown, hyphens = unknown + tokens.count("<unk>"), hyphens + tokens.count("@-@")
            text.write(" ".join(tokens) + "\n")
    return Counts(lines, words, unknown, hyphens)


def download(target: Path, addresses: Sequence[str] = ADDRESSES, sha256: str = ARCHIVE_SHA256) -> Path:
    """Downloads the archive from the first address that gives the right bytes; a whole one is kept.

    Args:
        target: Where the file will be; also returned.
        addresses: Tried in order.
        sha256: Of the file, 64 hexadecimal digits.

    Raises:
        DataError: No address gave it; the message has each one's reason.
    """
    if target.is_file() and file_digest(target) == sha256.lower():
        return target
    failures = []
    for address in addresses:
        logger.info("downloading %s", address)
        try:
            # The mirror answers 403 to urllib's own name.
            request = urllib.request.Request(address, headers={"User-Agent": "leap_fairseq prep_wikitext"})
            with urllib.request.urlopen(request, timeout=60) as answer, whole_file(target) as file:
                sha = hashlib.sha256()
                for block in iter(functools.partial(answer.read, 2**20), b""):
                    sha.update(block)
                    file.write(block)
                    if file.tell() > MOST_BYTES:
                        raise ValueError(f"it sends more than {MOST_BYTES:,} bytes")
                if sha.hexdigest() != sha256.lower():
                    raise ValueError(f"its sha256 is {sha.hexdigest()}, but must be {sha256}")
            return target
        except (OSError, ValueError, http.client.HTTPException) as error:
            failures.append(f"{address}: {error}")
    raise DataError(f"no address gave the archive ({'; '.join(failures)}): {LOCAL_REMEDY}")
