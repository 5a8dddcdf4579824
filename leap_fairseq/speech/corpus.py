"""What a corpus of translated speech is to data preparation: segments of audio files with their texts.

The readers (`mustc`, `covost`) make segments from a corpus's own layout; nothing behind them depends on the layout.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

OTHER_ENDINGS = (".flac", ".wav")


@dataclass(frozen=True)
class Segment:
    """One sentence: a part of an audio file, or a whole one.

    Attributes:
        id: Unique in its split; fit for a file name.
        audio: The audio file, whether it exists or not.
        offset: Seconds from the beginning of the file.
        duration: Seconds; None is to the end of the file.
        speaker: Name of the speaker.
        src_text: Transcript.
        tgt_text: Translation.
        src_lang: Language of the speech and the transcript, for example en.
        tgt_lang: Language of the translation, for example de.
    """

    id: str
    audio: Path
    offset: float
    duration: Optional[float]
    speaker: str
    src_text: str
    tgt_text: str
    src_lang: str
    tgt_lang: str


Corpus = Dict[str, List[Segment]]
"""The segments of each split, in the order of the split's text files."""


def find_audio(folder: Union[str, Path], name: str) -> Path:
    """The audio file that a corpus names.

    Corpora are often converted to save space while their lists keep the old names: where the file is missing, one of
    the same name that ends in .flac or .wav stands in for it.

    Returns:
        The path; the one that was asked for if there is none.
    """
    path = Path(folder) / name
    if path.exists():
        return path
    others = (path.with_suffix(ending) for ending in OTHER_ENDINGS)
    return next((other for other in others if other.exists()), path)


def by_file(segments: List[Segment]) -> List[Tuple[Path, List[int]]]:
    """Groups segments by audio file.

    Returns:
        For each file, in the order of first appearance, its path and the indices of its segments by offset.
    """
    files: Dict[Path, List[int]] = defaultdict(list)
    for index, segment in enumerate(segments):
        files[segment.audio].append(index)
    return [(audio, sorted(indices, key=lambda i: (segments[i].offset, i))) for audio, indices in files.items()]
