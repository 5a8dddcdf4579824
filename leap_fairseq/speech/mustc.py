"""Reads corpora in MuST-C's layout, versions 1 to 3.

ROOT/en-de/data/SPLIT/wav/TALK.wav
ROOT/en-de/data/SPLIT/txt/SPLIT.yaml      one {duration, offset, speaker_id, wav} a segment, times in seconds
ROOT/en-de/data/SPLIT/txt/SPLIT.en, .de   one sentence a line, parallel to the YAML
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple, Union

import yaml

from leap_fairseq.files import DataError

SPLITS = ("train", "dev", "tst-COMMON", "tst-HE")
REQUIRED_SPLITS = ("train", "dev")

# BaseLoader keeps every scalar a string; libyaml's twin reads 230,000 segments in seconds instead of minutes.
_YamlLoader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass(frozen=True)
class Segment:
    """One sentence of a talk.

    Attributes:
        id: TALK_i, the i-th segment of its talk by offset, as fairseq's MuST-C recipe names it.
        wav: The talk's audio file.
        offset: Seconds from the talk's beginning.
        duration: Seconds.
        speaker: speaker_id of the YAML.
        src_text: Transcript.
        tgt_text: Translation.
    """

    id: str
    wav: Path
    offset: float
    duration: float
    speaker: str
    src_text: str
    tgt_text: str


def split_folder(root: Union[str, Path], split: str, tgt_lang: str, src_lang: str = "en") -> Path:
    """The folder of one split, whether it exists or not."""
    return Path(root) / f"{src_lang}-{tgt_lang}" / "data" / split


def read_split(root: Union[str, Path], split: str, tgt_lang: str, src_lang: str = "en") -> List[Segment]:
    """Reads the segments of one split, in the order of its text files.

    Args:
        root: The folder that holds `en-de`.
        split: For example train or tst-COMMON.
        tgt_lang: For example de.
        src_lang: en in MuST-C.

    Returns:
        The segments; the audio itself is not looked at.

    Raises:
        DataError: A file is missing or malformed, or YAML and texts differ in their number of sentences.
    """
    folder = split_folder(root, split, tgt_lang, src_lang)
    base = folder / "txt" / split
    entries = _read_yaml(base.with_name(f"{split}.yaml"))
    sources = read_lines(base.with_name(f"{split}.{src_lang}"))
    targets = read_lines(base.with_name(f"{split}.{tgt_lang}"))
    if not len(entries) == len(sources) == len(targets):
        raise DataError(
            f"{folder / 'txt'}: {split}.yaml has {len(entries)} segments, {split}.{src_lang} {len(sources)} and"
            f" {split}.{tgt_lang} {len(targets)} lines, but they must be parallel: fetch or write these files again"
        )
    ids = _number_by_offset(entries)
    if len(set(ids)) != len(ids):
        raise DataError(f"{base}.yaml: two wav files differ only in their endings, so ids occur twice: rename one")
    return [
        Segment(
            id=name,
            wav=folder / "wav" / entry["wav"],
            offset=entry["offset"],
            duration=entry["duration"],
            speaker=entry["speaker_id"],
            src_text=source,
            tgt_text=target,
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


def by_talk(segments: List[Segment]) -> List[Tuple[Path, List[int]]]:
    """Groups segments by talk.

    Returns:
        For each talk, in the order of first appearance, its audio file and the indices of its segments by offset.
    """
    talks: Dict[Path, List[int]] = defaultdict(list)
    for index, segment in enumerate(segments):
        talks[segment.wav].append(index)
    return [(wav, sorted(indices, key=lambda i: (segments[i].offset, i))) for wav, indices in talks.items()]


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
