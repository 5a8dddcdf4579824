"""Turns WikiText-103 (word level), or with --any-text another text, into a fairseq data set for language modelling.

    leap-fairseq prepare wikitext wikitext-103-v1.zip --out data/wikitext-103
    python data_prep/prep_wikitext.py wikitext-103-v1.zip --out data/wikitext-103    (from a checkout)

reads a folder, a zip or files, and writes dict.txt and {train,valid,test}.{bin,idx} into --out, all or none. Names of
files tell the split: wiki.train.tokens, validation.csv, train-00000-of-00002.csv. A CSV has one line of the text in
each cell of its column `text`. The counts must be the published ones. The table of the command says how many tokens
are <unk> to the model, after the dictionary. With --vocab-type bpe or unigram the tokens are pieces of words, none of
which is unknown; --out has their SentencePiece model too, and the table says how many pieces a word has. What is
complete is reused.
"""

import argparse
import functools
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

from leap_fairseq.files import DataError, Stages, file_digest, whole_file
from leap_fairseq.prepare.binarised_text import DICTIONARY, binarise, check_dictionary, unknown_tokens
from leap_fairseq.prepare.pieces import PIECE_TYPES, WORDS, Pieces, choose_pieces, write_pieces
from leap_fairseq.prepare.processes import add_processes, check_processes
from leap_fairseq.prepare.wikitext_text import (
    LOCAL_REMEDY,
    PUBLISHED,
    SPLITS,
    Counts,
    TextFile,
    check_official,
    download,
    find_texts,
    refuse_raw_name,
    write_text,
)
from leap_fairseq.speech.vocabulary import PIECES

logger = logging.getLogger(__name__)

VERSION = 2
"""Raise it with every change that changes what is written: prepared data is then made again."""

ENDINGS = ("bin", "idx")

PathLike = Union[str, Path]


def prep_wikitext(
    sources: Sequence[PathLike] = (),
    *,
    out: PathLike,
    train: Optional[PathLike] = None,
    valid: Optional[PathLike] = None,
    test: Optional[PathLike] = None,
    url: Optional[str] = None,
    sha256: Optional[str] = None,
    fetch: bool = False,
    srcdict: Optional[PathLike] = None,
    any_text: bool = False,
    nwords: int = -1,
    threshold: int = 0,
    vocab_type: str = WORDS,
    vocab_size: Optional[int] = None,
    sentencepiece_model: Optional[PathLike] = None,
    processes: int = 1,
) -> Dict[str, Counts]:
    """Prepares the data set; the arguments are the command's.

    Args:
        fetch: As --download; with neither sources nor url.
        nwords: As fairseq's --nwordssrc, special symbols included.
        threshold: As fairseq's --thresholdsrc.
        vocab_size: Of pieces, special symbols and bytes included (default: 8,000).

    Returns:
        What each split holds, <unk> after the dictionary.

    Raises:
        DataError: The text is not the right one, or an option is wrong; the message says what to do.
    """
    check_processes(processes)
    pieces = choose_pieces(vocab_type, vocab_size, sentencepiece_model)
    _check_words(any_text, srcdict, nwords, threshold, pieces)
    stages = Stages(out, "prep_wikitext")
    with stages.alone():
        if fetch or url or sha256:
            sources = [*sources, _download(stages, sources, url, sha256)]
        texts = find_texts(sources)
        texts.update({split: [_given(path)] for split, path in zip(SPLITS, (test, valid, train)) if path is not None})
        _check_splits(texts, bool(srcdict or sentencepiece_model), any_text)
        dictionary = {"srcdict": srcdict and file_digest(srcdict), "nwords": nwords, "threshold": threshold}
        inputs = {"version": VERSION, "any_text": any_text, "texts": _fingerprint(texts), **dictionary}
        inputs.update(pieces.fingerprint() if pieces else {})
        counts_file = stages.stamps / "counts.json"
        names = [f"{split}.{ending}" for split in SPLITS if split in texts for ending in ENDINGS]
        names += [PIECES] if pieces else []

        def make(build: Path) -> None:
            prefixes = {split: build / f"{split}.text" for split in SPLITS if split in texts}
            counts = {split: _counted(split, texts[split], path, any_text) for split, path in prefixes.items()}
            known = srcdict
            if pieces:
                prefixes, numbers, known = write_pieces(pieces, prefixes, build, processes)
                counts = {split: row._replace(pieces=numbers[split]) for split, row in counts.items()}
            binarise(build, prefixes, known, nwords, threshold, processes)
            for split, row in counts.items():
                tokens = row.lines + (row.pieces or row.words)
                counts[split] = row._replace(unknown=unknown_tokens(build / split, tokens))
            with whole_file(counts_file, text=True) as file:
                json.dump(counts, file)

        old = [PIECES, *(f"{split}.{ending}" for split in SPLITS for ending in ENDINGS)]
        publish = functools.partial(stages.publish, DICTIONARY, names, make, old)
        outputs = [DICTIONARY, *names, str(counts_file.relative_to(stages.folder))]
        stages.run("data_set", inputs, outputs, publish)
        return {split: Counts(*row) for split, row in json.loads(counts_file.read_text(encoding="utf-8")).items()}


def _check_words(
    any_text: bool, srcdict: Optional[PathLike], nwords: int, threshold: int, pieces: Optional[Pieces]
) -> None:
    if nwords != -1 and nwords < 5:
        raise DataError(f"--nwords is {nwords}, but must be -1 (all) or more than the 4 special symbols")
    if threshold < 0:
        raise DataError(f"--threshold is {threshold}, but must be 0 or more")
    smaller = nwords != -1 or threshold > 0
    if smaller and srcdict:
        raise DataError("--nwords and --threshold make a dictionary, --srcdict takes one: leave one out")
    if pieces and (smaller or srcdict):
        raise DataError("--nwords, --threshold and --srcdict are for words: leave them out, or the options of pieces")
    if smaller and not any_text:
        rule = "no perplexity with another vocabulary compares with the published ones of WikiText-103"
        raise DataError(f"--nwords or --threshold was given, but {rule}: leave them out, or add --any-text")
    if srcdict:
        check_dictionary(srcdict)


def _download(stages: Stages, sources: Sequence[PathLike], url: Optional[str], sha256: Optional[str]) -> Path:
    if sources:
        raise DataError(f"SOURCE {sources[0]} and a download were given: leave out SOURCE, or --download and --url")
    if bool(url) != bool(sha256):
        raise DataError("--url and --sha256 belong together: without a checksum no download is trusted")
    if sha256 and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise DataError(f"--sha256 is {sha256!r}, but must be 64 hexadecimal digits (sha256sum FILE prints them)")
    target = stages.stamps / "wikitext-103-v1.zip"
    return download(target, [url], sha256) if url and sha256 else download(target)


def _given(path: PathLike) -> TextFile:
    if not Path(path).is_file():
        raise DataError(f"{path} is no file: --train, --valid and --test take text or CSV files")
    return TextFile(Path(path))


def _check_splits(texts: Dict[str, List[TextFile]], known: bool, any_text: bool) -> None:
    if not texts:
        raise DataError(f"no text was found: {LOCAL_REMEDY}, or try --download")
    for file in (file for files in texts.values() for file in files if not any_text):
        refuse_raw_name(file)
    if "train" not in texts and not known:
        text = "--train FILE (with --any-text if it is not WikiText-103's)"
        remedy = f"add --srcdict dict.txt of the trained model (or its --sentencepiece-model {PIECES}), or {text}"
        raise DataError(f"train is missing, and the dictionary is made from it: {remedy}")
    for split in SPLITS:
        if split not in texts:
            logger.warning("%s is missing: the data set will be without it", split)


def _fingerprint(texts: Dict[str, List[TextFile]]) -> Dict[str, Any]:
    digests = {file.path: file_digest(file.path) for files in texts.values() for file in files}
    return {split: [[file.name, file.member, digests[file.path]] for file in files] for split, files in texts.items()}


def _counted(split: str, files: List[TextFile], path: Path, any_text: bool) -> Counts:
    counts = write_text(files, path)
    logger.info(
        "%s: %d tokens in %d lines (published: %d in %d)", split, counts.tokens, counts.lines, *PUBLISHED[split]
    )
    if not counts.words:
        raise DataError(f"{split} has no words: {', '.join(str(file.path) for file in files)}")
    if not any_text:
        check_official(split, counts)
    return counts


def format_counts(counts: Dict[str, Counts], any_text: bool = False) -> str:
    """The table that the command prints: each split's tokens beside the published ones, and the share of <unk>.

    Of pieces, it has their number, and that of a word or end of line, in place of <unk>.

    Args:
        counts: What `prep_wikitext` returned.
        any_text: Another corpus: nothing is published about it, unless the counts say that it is the same.
    """
    in_pieces = any(row.pieces for row in counts.values())
    last = ("pieces", "a word") if in_pieces else ("<unk>", "share")
    rows = [f"{'split':<6}{'tokens':>13}{'published':>13}{'lines':>11}{last[0]:>13}{last[1]:>8}"]
    for split in ("train", "valid", "test"):
        if split in counts:
            row, (tokens, lines) = counts[split], PUBLISHED[split]
            known = f"{tokens:,}" if not any_text or (row.tokens, row.lines) == (tokens, lines) else "-"
            pieces = row.pieces + row.lines
            share = f"{pieces / row.tokens:>8.3f}" if in_pieces else f"{row.unknown / row.tokens:>8.2%}"
            number = pieces if in_pieces else row.unknown
            rows.append(f"{split:<6}{row.tokens:>13,}{known:>13}{row.lines:>11,}{number:>13,}{share}")
    return "\n".join(rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `prep_wikitext`."""
    add = parser.add_argument
    add("sources", metavar="SOURCE", nargs="*", help="folder, zip or files of the corpus")
    add("--out", metavar="DIR", required=True, help="folder for the data set")
    for split in ("train", "valid", "test"):
        add(f"--{split}", metavar="FILE", help=f"text or CSV of {split}, in place of SOURCE's")
    add("--download", dest="fetch", action="store_true", help="download wikitext-103-v1.zip, where a mirror answers")
    add("--url", help="download the zip from this address, with --sha256")
    add("--sha256", metavar="SUM", help="checksum of the file at --url")
    add("--srcdict", metavar="FILE", help="dict.txt to use instead of one made from train")
    add("--any-text", action="store_true", help="take a corpus that is not word-level WikiText-103")
    add("--nwords", type=int, default=-1, metavar="N", help="largest dictionary (with --any-text)")
    add("--threshold", type=int, default=0, metavar="N", help="rarer words become <unk> (with --any-text)")
    add("--vocab-type", choices=(WORDS, *PIECE_TYPES), default=WORDS, help="tokens: words, or pieces of SentencePiece")
    add("--vocab-size", type=int, metavar="N", help="pieces, special symbols and 256 bytes included (default: 8000)")
    add("--sentencepiece-model", metavar="FILE", help="pieces of this model instead of ones trained on train")
    add_processes(parser, default=1)


def run(options: argparse.Namespace) -> None:
    """Runs the command, and writes the table of counts to stdout."""
    sys.stdout.write(format_counts(prep_wikitext(**vars(options)), options.any_text) + "\n")
