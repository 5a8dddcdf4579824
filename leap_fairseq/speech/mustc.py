"""Reads corpora in MuST-C's layout, versions 1 to 3.

ROOT/en-de/data/SPLIT/wav/TALK.wav
ROOT/en-de/data/SPLIT/txt/SPLIT.yaml      one {duration, offset, speaker_id, wav} a segment, times in seconds
ROOT/en-de/data/SPLIT/txt/SPLIT.en, .de   one sentence a line, parallel to the YAML

The versions differ in the languages, the sentences and the YAML's keys: 2 and 3 add rW and uW before speaker_id.
"""

import logging
from pathlib import Path
from typing import Any, Dict, List, Union

import yaml

from leap_fairseq.files import DataError
from leap_fairseq.speech.corpus import Corpus, Segment, find_audio

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

    A segment is called TALK_i, the i-th of its talk by offset, as in fairseq's MuST-C recipe.

    Args:
        root: The folder that holds `en-de`, or `en-de` itself.
        split: For example train or tst-COMMON.
        tgt_lang: For example de.

    Raises:
        DataError: A file is missing or malformed, or YAML and texts differ in their number of sentences.
    """
    folder = pair_folder(root, tgt_lang) / "data" / split
    texts = folder / "txt"
    entries = _read_yaml(texts / f"{split}.yaml")
    sources, targets = (read_lines(texts / f"{split}.{language}") for language in (SRC_LANG, tgt_lang))
    if not len(entries) == len(sources) == len(targets):
        raise DataError(
            f"{texts}: {split}.yaml has {len(entries)} segments, {split}.{SRC_LANG} {len(sources)} and"
            f" {split}.{tgt_lang} {len(targets)} lines, but they must be parallel: fetch or write these files again"
        )
    ids = _number_by_offset(entries)
    if len(set(ids)) != len(ids):
        found = "two wav files differ only in their endings, so ids occur twice"
        raise DataError(f"{texts / split}.yaml: {found}: rename one")
    talks = {name: find_audio(folder / "wav", name) for name in {entry["wav"] for entry in entries}}
    return [
        Segment(
            id=name,
            audio=talks[entry["wav"]],
            offset=entry["offset"],
            duration=entry["duration"],
            speaker=entry["speaker_id"],
            src_text=source,
            tgt_text=target,
            src_lang=SRC_LANG,
            tgt_lang=tgt_lang,
        )
        for name, entry, source, target in zip(ids, entries, sources, targets)
    ]


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


def _read_yaml(path: Path) -> List[Dict[str, Any]]:
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=_YamlLoader) or []
        return [
            {
                "wav": entry["wav"],
                "offset": float(entry["offset"]),
                "duration": float(entry["duration"]),
                "speaker_id": entry.get("speaker_id", ""),
            }
            for entry in entries
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"cannot read {path}: it must list one {{duration, offset, speaker_id, wav}} a segment ({error!r})"
        ) from error


def _number_by_offset(entries: List[Dict[str, Any]]) -> List[str]:
    order = sorted(range(len(entries)), key=lambda i: (entries[i]["wav"], entries[i]["offset"], i))
    ids, last, rank = [""] * len(entries), None, 0
    for index in order:
        wav = entries[index]["wav"]
        rank = rank + 1 if wav == last else 0
        last = wav
        ids[index] = f"{Path(wav).stem}_{rank}"
    return ids
