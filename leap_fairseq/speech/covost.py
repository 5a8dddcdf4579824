"""Reads CoVoST 2: clips of Common Voice with translations.

ROOT/SRC/clips/*.mp3, validated.tsv     Common Voice; its files may also lie in ROOT itself
covost_v2.SRC_TGT.{train,dev,test}.tsv  path, sentence, translation, client_id: what get_covost_splits.py writes
covost_v2.SRC_TGT.tsv                   path, translation, split: as published; joined with validated.tsv here

A TSV is lines of fields between tabs. Quotes and backslashes mean nothing: every text is taken byte for byte.
"""

import logging
from pathlib import Path, PurePosixPath
from typing import Dict, Iterator, List, Optional, Sequence, Tuple, Union

from leap_fairseq.files import DataError
from leap_fairseq.speech.corpus import Corpus, Segment, find_audio

logger = logging.getLogger(__name__)

SPLITS = ("train", "dev", "test")
REQUIRED_SPLITS = ("train", "dev")

SPLIT_VALUES = {"train": ("train", "train_covost"), "dev": ("dev",), "test": ("test",)}
"""Values of the column `split`; train_covost are validated clips that Common Voice itself leaves out of training.
Source: `get_v2_split` of facebookresearch/covost, get_covost_splits.py."""

SPLIT_COLUMNS = ("path", "sentence", "translation", "client_id")
COVOST_COLUMNS = ("path", "translation", "split")
VALIDATED_COLUMNS = ("path", "sentence", "client_id")

Row = Tuple[str, ...]

Rows = List[Tuple[int, Row]]
"""Rows with the numbers of their lines."""

Faults = List[Tuple[int, str]]
"""Numbers of lines that cannot be used, and why."""


def read_corpus(
    root: Union[str, Path], src_lang: str, tgt_lang: str, splits: Sequence[str] = SPLITS, required: Sequence[str] = ()
) -> Corpus:
    """Reads the splits of a language pair.

    Args:
        root: The folder that holds SRC/clips, or clips itself.
        src_lang: Language of the speech, for example fr or zh-CN.
        tgt_lang: Language of the translations, for example en.
        splits: Which of train, dev, test.
        required: Those that must be there; others may be missing.

    Returns:
        The segments of each split; the audio itself is not looked at. A clip's id is its file name without ending.

    Raises:
        DataError: The layout is wrong, or a TSV is no such table. A line that cannot be used becomes a segment with the
            id "line N", which says why.
    """
    if src_lang == tgt_lang:
        raise DataError(f"--src-lang and --tgt-lang are both {src_lang}, but must differ, as in fr and en")
    folders = [Path(root) / src_lang, Path(root), Path(root) / src_lang / "raw"]
    clips = _find(folders, "clips", f"the clips of Common Voice for {src_lang} (--src-lang)")
    name = f"covost_v2.{src_lang}_{tgt_lang}"
    corpus, published = {}, None
    for split in splits:
        path, faults = _look_for(folders, f"{name}.{split}.tsv"), []
        if path is not None:
            rows = list(read_tsv(path, SPLIT_COLUMNS, faults))
            _warn_of_escapes(path, rows, name)
        elif _look_for(folders, f"{name}.tsv") is not None:
            published = published if published is not None else _join(folders, name)
            path, rows = Path(f"{name}.tsv"), published[split]
        elif split in required:
            what = f"the translations (--src-lang, --tgt-lang): fetch them, or {name}.tsv, from CoVoST 2"
            raise _missing(folders, f"{name}.{split}.tsv", what)
        else:
            logger.info("%s: not there, skipped (%s.%s.tsv)", split, name, split)
            continue
        corpus[split] = _segments(rows, faults, clips, src_lang, tgt_lang)
    return corpus


def read_split(root: Union[str, Path], split: str, tgt_lang: str, src_lang: str) -> List[Segment]:
    """Reads one split; arguments and errors are those of `read_corpus`, and an unknown split is a DataError."""
    if split not in SPLITS:
        raise DataError(f"--split is {split!r}, but CoVoST has {', '.join(SPLITS)}")
    return read_corpus(root, src_lang, tgt_lang, splits=[split], required=[split])[split]


def read_tsv(path: Path, columns: Sequence[str], faults: Faults) -> Iterator[Tuple[int, Row]]:
    """Reads some columns of a TSV with a header.

    Args:
        path: UTF-8; lines end in LF or, in the whole file, in CR LF.
        columns: Names of the wanted columns, in the order wanted.
        faults: Gets the lines that have too many or too few fields, which are left out.

    Yields:
        The number of a line, from 1, and its fields.

    Raises:
        DataError: The file is unreadable or lacks a column.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: it must be a UTF-8 TSV of CoVoST 2 or Common Voice ({error})") from error
    lines = text.split("\n")
    if lines[0].endswith("\r"):
        lines = [line[:-1] if line.endswith("\r") else line for line in lines]
    header = lines[0].split("\t")
    missing = [column for column in columns if column not in header]
    if missing:
        found = ", ".join(header)
        raise DataError(f"{path}: its first line must name {', '.join(columns)}, but {missing[0]} is not in: {found}")
    places = [header.index(column) for column in columns]
    for number, line in enumerate(lines[1:], start=2):
        if not line:  # after the last line feed
            continue
        fields = line.split("\t")
        if len(fields) != len(header):
            rule = f"has {len(fields)} fields between tabs, but the first line {len(header)}"
            faults.append((number, f"line {number} of {path.name} {rule}"))
            continue
        yield number, tuple(fields[place] for place in places)


def _join(folders: Sequence[Path], name: str) -> Dict[str, Rows]:
    """The rows of each split from the published TSV and Common Voice's transcripts, in the order of the latter."""
    path = _find(folders, f"{name}.tsv", "the translations")
    validated = _find(folders, "validated.tsv", f"Common Voice's transcripts, which {path.name} needs")
    split_of = {value: split for split, values in SPLIT_VALUES.items() for value in values}
    translations: Dict[str, Tuple[str, str]] = {}
    faults: Faults = []
    for number, (clip, translation, split) in read_tsv(path, COVOST_COLUMNS, faults):
        if clip in translations:
            faults.append((number, f"line {number} of {path.name} has {clip} for the second time"))
            continue
        translations[clip] = (translation, split)
    rows: Dict[str, Rows] = {split: [] for split in SPLITS}
    found = set()
    for number, (clip, sentence, client) in read_tsv(validated, VALIDATED_COLUMNS, faults):
        translation, split = translations.get(clip, ("", ""))
        if split in split_of:
            found.add(clip)
            rows[split_of[split]].append((number, (clip, sentence, translation, client)))
    for _, fault in faults:
        logger.warning("skipped: %s", fault)
    wanted = {clip for clip, (_, split) in translations.items() if split in split_of}
    level = logging.WARNING if wanted - found else logging.INFO
    text = "%s: %d of %d translated clips are in %s; CoVoST 2 belongs to Common Voice 4 (2019-12-10)"
    logger.log(level, text, path.name, len(found), len(wanted), validated)
    return rows


def _segments(rows: Rows, faults: Faults, clips: Path, src_lang: str, tgt_lang: str) -> List[Segment]:
    segments: Dict[str, Segment] = {}
    faults = list(faults)
    for number, (clip, sentence, translation, client) in rows:
        # Early releases of Common Voice leave the ending out.
        file = clip if PurePosixPath(clip).suffix else f"{clip}.mp3"
        name = PurePosixPath(file).stem
        try:
            if not name or not clip or name in segments:
                raise DataError(f"path {clip!r} must name each clip once")
            audio = find_audio(clips, file)
        except (DataError, OSError) as error:
            faults.append((number, f"line {number} cannot be used: {error}"))
            continue
        segments[name] = Segment(name, audio, 0.0, None, client, sentence, translation, src_lang, tgt_lang)
    faulty = [
        Segment(f"line {number}", clips, 0.0, None, "", "", "", src_lang, tgt_lang, fault) for number, fault in faults
    ]
    return [*segments.values(), *faulty]


def _warn_of_escapes(path: Path, rows: Rows, name: str) -> None:
    """Says when the texts are not what people wrote: a recent pandas puts a backslash before each quote."""
    texts = [text for _, row in rows for text in row[1:3] if '"' in text]
    if texts and not any('"' in text.replace('\\"', "") for text in texts):
        logger.warning(
            "%s: each quote has a backslash before it, as get_covost_splits.py writes it with a recent pandas; the"
            " texts are taken as they are. Without the TSVs of the splits, %s.tsv and validated.tsv are joined instead",
            *(path, name),
        )


def _look_for(folders: Sequence[Path], name: str) -> Optional[Path]:
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def _find(folders: Sequence[Path], name: str, what: str) -> Path:
    path = _look_for(folders, name)
    if path is None:
        raise _missing(folders, name, what)
    return path


def _missing(folders: Sequence[Path], name: str, what: str) -> DataError:
    places = " nor in ".join(str(folder) for folder in folders[:2])
    return DataError(f"{name} is neither in {places}: ROOT must hold {what}")
