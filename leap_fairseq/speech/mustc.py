"""Reads corpora in MuST-C's layout, versions 1 to 3.

ROOT/en-de/data/SPLIT/wav/TALK.wav
ROOT/en-de/data/SPLIT/txt/SPLIT.yaml      one {duration, offset, speaker_id, wav} a segment, times in seconds
ROOT/en-de/data/SPLIT/txt/SPLIT.en, .de   one sentence a line, parallel to the YAML

The versions differ in the languages, the sentences and the YAML's keys: 2 and 3 add rW and uW before speaker_id.
"""

import functools
import logging
import reprlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Union

import yaml

from leap_fairseq.files import DataError
from leap_fairseq.speech.audio import LONGEST
from leap_fairseq.speech.corpus import Corpus, Segment, by_file, find_audio

logger = logging.getLogger(__name__)

SRC_LANG = "en"
SPLITS = ("train", "dev", "tst-COMMON", "tst-HE")
REQUIRED_SPLITS = ("train", "dev")

# BaseLoader keeps every scalar a string; libyaml's twin reads 230,000 segments in seconds instead of minutes.
_YamlLoader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def pair_folder(root: Union[str, Path], tgt_lang: str) -> Path:
    """The folder of one language pair, whether it exists or not; ROOT holds it, or is it."""
    root, pair = Path(root), f"{SRC_LANG}-{tgt_lang}"
    itself = root.resolve().name == pair and (root / "data").is_dir() and not (root / pair).exists()
    return root if itself else root / pair


def read_corpus(root: Union[str, Path], tgt_lang: str) -> Corpus:
    """Reads all splits of a language pair: MuST-C's own, then others in the same form.

    Args:
        root: The folder that holds `en-de`, or `en-de` itself.
        tgt_lang: For example de.

    Raises:
        DataError: train or dev is missing, or a split cannot be read (see `read_split`).
    """
    corpus = {}
    data = pair_folder(root, tgt_lang) / "data"
    for split in SPLITS:
        folder = data / split
        if folder.is_dir():
            corpus[split] = read_split(root, split, tgt_lang)
        elif split in REQUIRED_SPLITS:
            pair = f"{SRC_LANG}-{tgt_lang}"
            rule = f"ROOT must be the folder that holds {pair}, or {pair} itself (--tgt-lang)"
            raise DataError(f"{folder} is missing: {rule}{_pairs_of(root)}")
        else:
            logger.info("%s: not there, skipped (%s)", split, folder)
    for split in _other_splits(data, tgt_lang):
        logger.info("%s: a further split", split)
        corpus[split] = read_split(root, split, tgt_lang)
    return corpus


def read_split(root: Union[str, Path], split: str, tgt_lang: str) -> List[Segment]:
    """Reads the segments of one split, in the order of its text files; the audio itself is not looked at.

    A segment is called TALK_i, the i-th of its talk by offset, as in fairseq's MuST-C recipe. An entry that cannot be
    used is called "entry N", and says why.

    Args:
        root: The folder that holds `en-de`, or `en-de` itself.
        split: For example train or tst-COMMON.
        tgt_lang: For example de.

    Raises:
        DataError: A file is missing or malformed, or YAML and texts differ in their number of sentences.
    """
    folder = pair_folder(root, tgt_lang) / "data" / split
    texts = folder / "txt"
    entries = read_entries(texts / f"{split}.yaml")
    sources, targets = (read_lines(texts / f"{split}.{language}") for language in (SRC_LANG, tgt_lang))
    if not len(entries) == len(sources) == len(targets):
        raise DataError(
            f"{texts}: {split}.yaml has {len(entries)} segments, {split}.{SRC_LANG} {len(sources)} and"
            f" {split}.{tgt_lang} {len(targets)} lines, but they must be parallel: fetch or write these files again"
        )
    # A talk has many entries.
    find = functools.lru_cache(maxsize=None)(functools.partial(find_audio, folder / "wav"))
    segments = [
        _segment(number, entry, find, lines, tgt_lang)
        for number, (entry, *lines) in enumerate(zip(entries, sources, targets), start=1)
    ]
    for audio, indices in by_file(segments):
        for rank, index in enumerate(indices):
            segments[index] = replace(segments[index], id=f"{audio.stem}_{rank}")
    if len({segment.id for segment in segments}) != len(segments):
        found = "two wav files differ only in their endings, so ids occur twice"
        raise DataError(f"{texts / split}.yaml: {found}: rename one")
    return segments


def _segment(number: int, entry: Any, find: Callable[[str], Path], texts: List[str], tgt_lang: str) -> Segment:
    """The segment of an entry of the YAML; its id is the number of the entry, until all of its talk are known."""
    audio, offset, duration, speaker, fault = Path(), 0.0, 0.0, "", ""
    try:
        if not isinstance(entry, dict):
            raise DataError(f"it is {reprlib.repr(entry)}, but must have keys with values")
        wav, speaker = (_name(entry, key) for key in ("wav", "speaker_id"))
        offset, duration = (_seconds(entry, key) for key in ("offset", "duration"))
        audio = find(wav)
    except (DataError, OSError) as error:
        fault = f"entry {number} of the YAML cannot be used: {error}"
    return Segment(f"entry {number}", audio, offset, duration, speaker, *texts, SRC_LANG, tgt_lang, fault)


def _name(entry: Dict[str, Any], key: str) -> str:
    name = entry.get(key, "")
    if not isinstance(name, str):
        raise DataError(f"{key} is {reprlib.repr(name)}, but must be a name")
    return name


def _seconds(entry: Dict[str, Any], key: str) -> float:
    try:
        seconds = float(entry.get(key))
    except (TypeError, ValueError):
        seconds = float("nan")
    if not 0 <= seconds <= LONGEST:
        raise DataError(f"{key} is {reprlib.repr(entry.get(key))}, but must be 0 to {LONGEST} s, a week")
    return seconds


def read_lines(path: Path) -> List[str]:
    """The sentences of a text file, UTF-8, one a line; only line feeds end a line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: it must be a UTF-8 text file in MuST-C's layout ({error})") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.strip() for line in lines]


def _pairs_of(root: Union[str, Path]) -> str:
    """What ROOT holds instead, for an error."""
    pairs = sorted(path.parent.name for path in Path(root).glob("*-*/data") if path.is_dir())
    return f"; {root} holds {', '.join(pairs)}" if pairs else ""


def _other_splits(data: Path, tgt_lang: str) -> List[str]:
    """Splits that are not MuST-C's own, for example test sets of later years, with their three text files."""
    names = sorted(path.name for path in data.iterdir() if path.name not in SPLITS)
    endings = ("yaml", SRC_LANG, tgt_lang)
    return [name for name in names if all((data / name / "txt" / f"{name}.{end}").is_file() for end in endings)]


def read_entries(path: Path) -> List[Any]:
    """The entries of a YAML of segments, their values as texts; a DataError where it is none."""
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=_YamlLoader) or []
        if not isinstance(entries, list):
            raise ValueError(f"it is a {type(entries).__name__}")
        return entries
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(
            f"cannot read {path}: it must list one {{duration, offset, speaker_id, wav}} a segment ({error!r})"
        ) from error
