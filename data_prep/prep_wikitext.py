"""Turns WikiText-103 (word level), or with --any-text another text, into a fairseq data set for language modelling.

    python data_prep/prep_wikitext.py wikitext-103-v1.zip --out data/wikitext-103

reads a folder, a zip or files, and writes dict.txt and {train,valid,test}.{bin,idx} into --out, all or none. Names of
files tell the split: wiki.train.tokens, validation.csv, train-00000-of-00002.csv. A CSV has one line of the text in
each cell of its column `text`. The counts must be the published ones. What is complete is reused.
"""

import argparse
import csv
import functools
import hashlib
import http.client
import io
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Union

import _checkout  # noqa: F401
from _command import add_processes, command_parser, run_command

from leap_fairseq.repairs.root_logger import unchanged_root_logger
from leap_fairseq.speech.files import DataError, Stages, file_digest, whole_file

logger = logging.getLogger("prep_wikitext")

VERSION = 1
"""Raise it with every change that changes what is written: prepared data is then made again."""

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

SUFFIXES = (".tokens", ".txt", ".csv", ".raw")
SPLIT = re.compile(r"(?:^|[^a-z])(train|valid|validation|dev|test)(?:[^a-z]|$)")
RAW = re.compile(r"(?:^|[^a-z])raw(?:[^a-z]|$)")
SHARD = re.compile(r"-(\d+)-of-(\d+)\.")
BUILD = "build-"
LOCAL_REMEDY = "get wikitext-103-v1.zip, or wiki.{train,valid,test}.tokens, and give the path as SOURCE"


class Counts(NamedTuple):
    """What a split holds: lines, words, and how many of the words are <unk> and @-@."""

    lines: int
    words: int
    unknown: int
    hyphens: int

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
        try:
            with zipfile.ZipFile(self.path).open(self.member) if self.member else open(self.path, "rb") as file:
                text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n")
                yield from _cells(text, self.name) if self.name.endswith(".csv") else text
        except (UnicodeDecodeError, zipfile.BadZipFile, zlib.error, csv.Error) as error:
            raise DataError(f"{self.path} {self.member} cannot be read ({error}): it must be UTF-8, whole") from error


def _cells(text: io.TextIOWrapper, name: str) -> Iterator[str]:
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
        return [TextFile(path) for path in here or sorted(source.glob("*/*")) if path.is_file()]
    if not source.is_file():
        raise DataError(f"{source} does not exist: SOURCE must be a folder, a zip or text files")
    if zipfile.is_zipfile(source):
        return [TextFile(source, member) for member in zipfile.ZipFile(source).namelist()]
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


def _refuse_raw_name(file: TextFile) -> None:
    for name in (file.name, file.path.name):
        if RAW.search(name.lower()):
            remedy = "take the word-level variant (wikitext-103-v1), or --any-text for another corpus"
            raise DataError(
                f"{name}: this is the raw variant by its name, whose perplexities mean another thing: {remedy}"
            )


def check_official(split: str, counts: Counts) -> None:
    """Refuses what is not the word-level WikiText-103.

    Args:
        split: train, valid or test.
        counts: Of the text given for it.

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


def _write_text(files: List[TextFile], path: Path) -> Counts:
    """Writes words between single spaces, a line a line: the data set is the same from every form of the corpus."""
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
        target: Where the file will be.
        addresses: Tried in order.
        sha256: Of the file, 64 hexadecimal digits.

    Returns:
        The target.

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
                if sha.hexdigest() != sha256.lower():
                    raise ValueError(f"its sha256 is {sha.hexdigest()}, but must be {sha256}")
            return target
        except (OSError, ValueError, http.client.HTTPException) as error:
            failures.append(f"{address}: {error}")
    raise DataError(f"no address gave the archive ({'; '.join(failures)}): {LOCAL_REMEDY}")


def prep_wikitext(
    sources: Sequence[Union[str, Path]] = (),
    *,
    out: Union[str, Path],
    train: Optional[Union[str, Path]] = None,
    valid: Optional[Union[str, Path]] = None,
    test: Optional[Union[str, Path]] = None,
    url: Optional[str] = None,
    sha256: Optional[str] = None,
    fetch: bool = False,
    srcdict: Optional[Union[str, Path]] = None,
    any_text: bool = False,
    nwords: int = -1,
    threshold: int = 0,
    processes: int = 1,
) -> Dict[str, Counts]:
    """Prepares the data set.

    Args:
        sources: Folders, zips and files; the names of the files tell the split.
        out: Folder for the data set.
        train: File of this split, whatever its name; it takes the place of one in the sources.
        valid: Likewise.
        test: Likewise.
        url: Address of a copy of wikitext-103-v1.zip; with sha256.
        sha256: Of the file at url.
        fetch: Download from the known addresses; with neither sources nor url.
        srcdict: A dict.txt to use; None makes it from train.
        any_text: Take a corpus that is not the word-level WikiText-103.
        nwords: Largest size of the dictionary, special symbols included, as fairseq's --nwordssrc; with any_text.
        threshold: Rarer words become <unk>, as fairseq's --thresholdsrc; with any_text.
        processes: Worker processes; the bytes do not depend on it.

    Returns:
        What each split holds.

    Raises:
        DataError: The text is not the right one, or an option is wrong; the message says what to do.
    """
    _check_options(any_text, srcdict, nwords, threshold, processes)
    stages = Stages(out, "prep_wikitext")
    if fetch or url or sha256:
        sources = [*sources, _download(stages, sources, url, sha256)]
    texts = find_texts(sources)
    texts.update({split: [_given(path)] for split, path in zip(SPLITS, (test, valid, train)) if path is not None})
    _check_splits(texts, srcdict, any_text)
    dictionary = {"srcdict": srcdict and file_digest(srcdict), "nwords": nwords, "threshold": threshold}
    inputs = {"version": VERSION, "any_text": any_text, "texts": _fingerprint(texts), **dictionary}
    counts_file = stages.stamps / "counts.json"
    names = [f"{split}.{ending}" for split in SPLITS if split in texts for ending in ("bin", "idx")]

    def make() -> None:
        # A killed run's workers may still be writing there: what cannot be removed now is the next run's.
        for left in stages.stamps.glob(f"{BUILD}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=BUILD, dir=stages.stamps) as build:
            prefixes = {split: Path(build) / f"{split}.text" for split in SPLITS if split in texts}
            counts = {split: _counted(split, texts[split], path, any_text) for split, path in prefixes.items()}
            _binarise(Path(build), prefixes, srcdict, nwords, threshold, processes)
            with whole_file(counts_file, text=True) as file:
                json.dump(counts, file)
            _publish(Path(build), stages.folder, names)

    outputs = ["dict.txt", *names, str(counts_file.relative_to(stages.folder))]
    stages.run("data_set", inputs, outputs, make)
    return {split: Counts(*row) for split, row in json.loads(counts_file.read_text(encoding="utf-8")).items()}


def _check_options(
    any_text: bool, srcdict: Optional[Union[str, Path]], nwords: int, threshold: int, processes: int
) -> None:
    if processes < 1:
        raise DataError(f"number of processes is {processes}, but must be 1 or more (-j)")
    if nwords != -1 and nwords < 5:
        raise DataError(f"--nwords is {nwords}, but must be -1 (all) or more than the 4 special symbols")
    if threshold < 0:
        raise DataError(f"--threshold is {threshold}, but must be 0 or more")
    smaller = nwords != -1 or threshold > 0
    if smaller and srcdict:
        raise DataError("--nwords and --threshold make a dictionary, --srcdict takes one: leave one out")
    if smaller and not any_text:
        rule = "no perplexity with another vocabulary compares with the published ones of WikiText-103"
        raise DataError(f"--nwords or --threshold was given, but {rule}: leave them out, or add --any-text")
    if srcdict:
        from fairseq.data import Dictionary

        try:
            Dictionary.load(str(srcdict))
        except Exception as error:  # fairseq raises a bare one where the text is not UTF-8.
            raise DataError(
                f"--srcdict {srcdict} is no dictionary of fairseq (lines of word and count): {error}"
            ) from error


def _download(stages: Stages, sources: Sequence[Union[str, Path]], url: Optional[str], sha256: Optional[str]) -> Path:
    if sources:
        raise DataError(f"SOURCE {sources[0]} and a download were given: leave out SOURCE, or --download and --url")
    if bool(url) != bool(sha256):
        raise DataError("--url and --sha256 belong together: without a checksum no download is trusted")
    if sha256 and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise DataError(f"--sha256 is {sha256!r}, but must be 64 hexadecimal digits (sha256sum FILE prints them)")
    target = stages.stamps / "wikitext-103-v1.zip"
    return download(target, [url], sha256) if url and sha256 else download(target)


def _given(path: Union[str, Path]) -> TextFile:
    if not Path(path).is_file():
        raise DataError(f"{path} is no file: --train, --valid and --test take text or CSV files")
    return TextFile(Path(path))


def _check_splits(texts: Dict[str, List[TextFile]], srcdict: Optional[Union[str, Path]], any_text: bool) -> None:
    if not texts:
        raise DataError(f"no text was found: {LOCAL_REMEDY}, or try --download")
    for file in (file for files in texts.values() for file in files if not any_text):
        _refuse_raw_name(file)
    if "train" not in texts and not srcdict:
        remedy = (
            "--srcdict dict.txt of the trained model, or --train FILE (with --any-text if it is not WikiText-103's)"
        )
        raise DataError(f"train is missing, and the dictionary is made from it: add {remedy}")
    for split in SPLITS:
        if split not in texts:
            logger.warning("%s is missing: the data set will be without it", split)


def _fingerprint(texts: Dict[str, List[TextFile]]) -> Dict[str, Any]:
    digests = {file.path: file_digest(file.path) for files in texts.values() for file in files}
    return {split: [[file.name, file.member, digests[file.path]] for file in files] for split, files in texts.items()}


def _counted(split: str, files: List[TextFile], path: Path, any_text: bool) -> Counts:
    counts = _write_text(files, path)
    logger.info(
        "%s: %d tokens in %d lines (published: %d in %d)", split, counts.tokens, counts.lines, *PUBLISHED[split]
    )
    if not counts.words:
        raise DataError(f"{split} has no words: {', '.join(str(file.path) for file in files)}")
    if not any_text:
        check_official(split, counts)
    return counts


def _binarise(
    build: Path,
    texts: Dict[str, Path],
    srcdict: Optional[Union[str, Path]],
    nwords: int,
    threshold: int,
    processes: int,
) -> None:
    """Runs fairseq-preprocess in this process: one of its own would go on writing after a kill of this one."""
    from fairseq import options

    with unchanged_root_logger():
        from fairseq_cli import preprocess

    arguments = ["--only-source", "--destdir", str(build), "--workers", str(processes)]
    arguments += ["--nwordssrc", str(nwords), "--thresholdsrc", str(threshold)]
    arguments += ["--srcdict", str(srcdict)] if srcdict else []
    for split, path in texts.items():
        arguments += [f"--{split}pref", str(path)]
    handlers = list(preprocess.logger.handlers)
    try:
        preprocess.main(options.get_preprocessing_parser().parse_args(arguments))
    finally:
        # It logs into the folder as well, and leaves that file open.
        for handler in [handler for handler in preprocess.logger.handlers if handler not in handlers]:
            preprocess.logger.removeHandler(handler)
            handler.close()


def _publish(build: Path, folder: Path, names: List[str]) -> None:
    """Puts the files in place. fairseq opens no data set without dict.txt: it goes first and comes last."""
    for name in ["dict.txt", *(f"{split}.{ending}" for split in SPLITS for ending in ("bin", "idx"))]:
        (folder / name).unlink(missing_ok=True)
    for name in [*names, "dict.txt"]:
        os.replace(build / name, folder / name)


def format_counts(counts: Dict[str, Counts], any_text: bool = False) -> str:
    """The table that the command prints: each split's tokens beside the published ones.

    Args:
        counts: What `prep_wikitext` returned.
        any_text: Another corpus: nothing is published about it, unless the counts say that it is the same.

    Returns:
        Lines without a final line feed.
    """
    rows = [f"{'split':<6}{'tokens':>13}{'published':>13}{'lines':>11}{'<unk>':>11}"]
    for split in ("train", "valid", "test"):
        if split in counts:
            row, (tokens, lines) = counts[split], PUBLISHED[split]
            known = f"{tokens:,}" if not any_text or (row.tokens, row.lines) == (tokens, lines) else "-"
            rows.append(f"{split:<6}{row.tokens:>13,}{known:>13}{row.lines:>11,}{row.unknown:>11,}")
    return "\n".join(rows)


def _parse_arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    add = functools.partial(parser.add_argument, default=argparse.SUPPRESS)
    parser.add_argument("sources", metavar="SOURCE", nargs="*", help="folder, zip or files of the corpus")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the data set")
    for split in ("train", "valid", "test"):
        add(f"--{split}", metavar="FILE", help=f"text or CSV of {split}, in place of SOURCE's")
    add("--download", dest="fetch", action="store_true", help="download wikitext-103-v1.zip, where a mirror answers")
    add("--url", help="download the zip from this address, with --sha256")
    add("--sha256", metavar="SUM", help="checksum of the file at --url")
    add("--srcdict", metavar="FILE", help="dict.txt to use instead of one made from train")
    parser.add_argument("--any-text", action="store_true", help="take a corpus that is not word-level WikiText-103")
    parser.add_argument("--nwords", type=int, default=-1, metavar="N", help="largest dictionary (with --any-text)")
    rarer = "rarer words become <unk> (with --any-text)"
    parser.add_argument("--threshold", type=int, default=0, metavar="N", help=rarer)
    add_processes(parser, default=1)
    return parser.parse_args()


def main() -> None:
    """The command line; its options are the arguments of `prep_wikitext`."""
    options = vars(_parse_arguments())
    counts = prep_wikitext(options.pop("sources"), **options)
    print(format_counts(counts, options["any_text"]))


if __name__ == "__main__":
    sys.exit(run_command(main))
