"""Reads corpora in MuST-C's layout, versions 1 to 3.

ROOT/en-de/data/SPLIT/wav/TALK.wav
ROOT/en-de/data/SPLIT/txt/SPLIT.yaml      one {duration, offset, speaker_id, wav} a segment, times in seconds
ROOT/en-de/data/SPLIT/txt/SPLIT.en, .de   one sentence a line, parallel to the YAML

The versions differ in the languages, the sentences and the YAML's keys: 2 and 3 add rW and uW before speaker_id. Other
corpora have this layout too, of any pair of languages; one of transcripts alone is called en-en, say, and has SPLIT.en.
"""

import functools
import logging
import reprlib
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Union

import yaml

from leap_fairseq.files import DataError
from leap_fairseq.speech.corpus import Corpus, Segment, check_seconds, find_audio, named_by_file, read_lines
from leap_fairseq.speech.yaml_entries import entries_of

logger = logging.getLogger(__name__)

SRC_LANG = "en"
SPLITS = ("train", "dev", "tst-COMMON", "tst-HE")
REQUIRED_SPLITS = ("train", "dev")


def pair_folder(root: Union[str, Path], tgt_lang: str, src_lang: str = SRC_LANG) -> Path:
    """The folder of one language pair, whether it exists or not; ROOT holds it, or is it."""
    root, pair = Path(root), f"{src_lang}-{tgt_lang}"
    itself = root.resolve().name == pair and (root / "data").is_dir() and not (root / pair).exists()
    return root if itself else root / pair


def read_corpus(
    root: Union[str, Path],
    tgt_lang: str,
    src_lang: str = SRC_LANG,
    splits: Sequence[str] = SPLITS,
    required: Sequence[str] = REQUIRED_SPLITS,
) -> Corpus:
    """Reads all splits of a language pair: the corpus's own, then others in the same form.

    Args:
        root: The folder that holds `en-de`, or `en-de` itself.
        tgt_lang: Language of the translations, for example de.
        src_lang: Language of the speech.
        splits: The corpus's own, in their order.
        required: Those of them that must be there.

    Raises:
        DataError: A required split is missing, or a split cannot be read (see `read_split`).
    """
    corpus = {}
    data = pair_folder(root, tgt_lang, src_lang) / "data"
    for split in splits:
        if split in required or (data / split).is_dir():
            corpus[split] = read_split(root, split, tgt_lang, src_lang)
        else:
            logger.info("%s: not there, skipped (%s)", split, data / split)
    for split in _other_splits(data, splits, (src_lang, tgt_lang)):
        logger.info("%s: a further split", split)
        corpus[split] = read_split(root, split, tgt_lang, src_lang)
    return corpus


def read_split(root: Union[str, Path], split: str, tgt_lang: str, src_lang: str = SRC_LANG) -> List[Segment]:
    """Reads the segments of one split, in the order of its text files; the audio itself is not looked at.

    A segment is called TALK_i, the i-th of its talk by offset, as in fairseq's MuST-C recipe. An entry that cannot be
    used is called "entry N", and says why.

    Args:
        root: The folder that holds `en-de`, or `en-de` itself.
        split: For example train or tst-COMMON.
        tgt_lang: Language of the translations, for example de.
        src_lang: Language of the speech.

    Raises:
        DataError: A file is missing or malformed, or YAML and texts differ in their number of sentences.
    """
    pair, languages = f"{src_lang}-{tgt_lang}", (src_lang, tgt_lang)
    folder = pair_folder(root, tgt_lang, src_lang) / "data" / split
    if not folder.is_dir():
        rule = f"ROOT must be the folder that holds {pair}, or {pair} itself (--src-lang, --tgt-lang)"
        raise DataError(f"{folder} is missing: {rule}{_pairs_of(root)}")
    texts = folder / "txt"
    entries = read_entries(texts / f"{split}.yaml")
    sources, targets = (read_lines(texts / f"{split}.{language}") for language in languages)
    if not len(entries) == len(sources) == len(targets):
        raise DataError(
            f"{texts}: {split}.yaml has {len(entries)} segments, {split}.{src_lang} {len(sources)} and"
            f" {split}.{tgt_lang} {len(targets)} lines, but they must be parallel: fetch or write these files again"
        )
    # A talk has many entries.
    find = functools.lru_cache(maxsize=None)(functools.partial(find_audio, folder / "wav"))
    segments = [
        _segment(number, entry, find, [*lines, *languages])
        for number, (entry, *lines) in enumerate(zip(entries, sources, targets), start=1)
    ]
    return named_by_file(segments, texts / f"{split}.yaml")


def _segment(number: int, entry: Any, find: Callable[[str], Path], texts: List[str]) -> Segment:
    """The segment of an entry of the YAML; its id is the number of the entry, until all of its talk are known.

    Args:
        number: Of the entry, from 1.
        entry: Of the YAML.
        find: The audio file of a name.
        texts: Transcript, translation, and the languages of both.
    """
    audio, offset, duration, speaker, fault = Path(), 0.0, 0.0, "", ""
    try:
        if not isinstance(entry, dict):
            raise DataError(f"it is {reprlib.repr(entry)}, but must have keys with values")
        wav, speaker = (_name(entry, key) for key in ("wav", "speaker_id"))
        offset, duration = (check_seconds(entry.get(key), key) for key in ("offset", "duration"))
        audio = find(wav)
    except (DataError, OSError) as error:
        fault = f"entry {number} of the YAML cannot be used: {error}"
    return Segment(f"entry {number}", audio, offset, duration, speaker, *texts, fault)


def _name(entry: Dict[str, Any], key: str) -> str:
    name = entry.get(key, "")
    if not isinstance(name, str):
        raise DataError(f"{key} is {reprlib.repr(name)}, but must be a name")
    return name


def _pairs_of(root: Union[str, Path]) -> str:
    """What ROOT holds instead, for an error."""
    pairs = sorted(path.parent.name for path in Path(root).glob("*-*/data") if path.is_dir())
    return f"; {root} holds {', '.join(pairs)}" if pairs else ""


def _other_splits(data: Path, splits: Sequence[str], languages: Sequence[str]) -> List[str]:
    """Splits that are not the corpus's own, for example test sets of later years, with their three text files."""
    names = sorted(path.name for path in data.iterdir() if path.name not in splits)
    endings = ("yaml", *languages)
    return [name for name in names if all((data / name / "txt" / f"{name}.{end}").is_file() for end in endings)]


def read_entries(path: Path) -> List[Any]:
    """The entries of a YAML of segments, their values as texts; a DataError where it is none."""
    try:
        return list(entries_of(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(
            f"cannot read {path}: it must list one {{duration, offset, speaker_id, wav}} a segment ({error!r})"
        ) from error
